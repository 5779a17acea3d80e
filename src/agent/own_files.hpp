#pragma once

#include "agent/users.hpp"
#include "base/units.hpp"

#include <cstdint>
#include <string>

// What an application may write to: file systems in memory that are its own. They count against its memory.
// They outlive its restarts in place, so that it finds what it wrote, and are gone, with all that is in them,
// before it is said to have ended and its areas are taken. The same holds for its IPC objects: System V
// shared memory outlives whoever made it.
namespace understudy::agent {

struct OwnFiles {
  // In our image everything else is read-only, so that nothing can be left behind. In an ordinary guest,
  // whose disk is its own, only what is kept in memory.
  bool whole_image = false;
  Bytes size_bytes = 0;       // of each; 0: half of the guest's memory
  std::uint64_t files = 0;    // at most so many; 0: what the kernel thinks right
  std::string staging;        // an empty directory, used while they are made
  std::string run_directory;  // the agent's
  // What is seen in its place, and by this application alone: its notify socket.
  std::string own_run_directory;
};

inline constexpr Bytes kBytesPerFile = 16_KiB;
inline constexpr Bytes kBaseBytesPerFile =
    4_KiB;  // an inode and its name take 1 KiB: a quarter of the base memory
// How many files: their inodes are memory of the kernel's own, which has to fit into the base memory.
[[nodiscard]] std::uint64_t most_files(Bytes size_bytes, Bytes base_bytes);

// In a forked child that still has its privileges and is in its cgroup. The step that failed (errno says
// why); empty: done.
[[nodiscard]] std::string make_own_files(const OwnFiles& files, const User& user);
// Makes them writable again after everything was made read-only. As above.
[[nodiscard]] std::string keep_own_files_writable(const OwnFiles& files, const User& user);

// In a child that has joined them: another size, for more memory or less.
void resize_own_files(const OwnFiles& files);
// In a forked child that is in its cgroup and has mounts of its own: what it sees of the cgroups, and may
// change, is what lies below its own.
void see_own_cgroups();

}  // namespace understudy::agent

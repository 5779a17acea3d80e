#pragma once

#include "base/error.hpp"

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace understudy::qemu {

// A user of the host, by numbers; it needs no entry in /etc/passwd.
struct HostUser {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary ones, and no others
};

// What is started: argv[0] is the program, looked up in PATH unless it has a slash.
struct SpawnSpec {
  std::vector<std::string> argv;
  std::filesystem::path log;  // standard output and error are appended here
  std::vector<int> fds;       // become descriptors 3, 4, ... of the process, which gets no others
  // Who it is to be; only root can say. It then has no capabilities and can get no new privileges.
  std::optional<HostUser> user = std::nullopt;
  // A network with a loopback alone instead of this process's, for an ordinary user together with a user
  // namespace (base/own_network.hpp), and System V memory and message queues that end with it. Where the
  // kernel or this user cannot give it one, it has ours, and its log says so.
  bool own_network = false;
  // No file that it can write to, whoever opened it, becomes longer than this by its doing; 0: any length.
  std::uint64_t largest_file_bytes = 0;
  // A cgroup v2 that it is in from its first instruction on: its directory, and its file of processes
  // (qemu/qemu_cgroup.hpp); -1: the daemon's. Where the kernel refuses that, it is in the daemon's, and its
  // log says so.
  int cgroup = -1;
  int cgroup_processes = -1;
  std::string first_words = {};  // in its log, before its own
};
inline constexpr int kFirstPassedFd = 3;
inline constexpr unsigned kMostThreads = 1024;  // its vCPUs, 64 for its disks, and room

// Starts the program in a session of its own, so that it outlives this process; in "/", with ordinary signals
// and limits (base/inherited_state.hpp) but all the descriptors that it may have, without core file, and with
// of our environment only what a QEMU may need. One with a user of its own can write to nothing by its path,
// and has no System V memory, message queues or semaphores.
// The caller reaps it. An error says which step did not succeed; nothing is left then.
[[nodiscard]] Result<pid_t> spawn_process(const SpawnSpec& spec);

// The file that a program's name stands for; nothing when there is none.
[[nodiscard]] std::optional<std::filesystem::path> find_program(const std::string& program);

}  // namespace understudy::qemu

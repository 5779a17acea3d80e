#pragma once

#include "base/error.hpp"
#include "base/time.hpp"

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// How a QEMU of ours is known again by a daemon that did not start it. A pid alone proves nothing: it may
// belong to somebody else by now. Its daemon wrote down pid and start time, which no process can change
// (guest_files.hpp). One that died before it could is found by what QEMU carries in its command line, its run
// directory, guest and run as the value of -name: a guest that has taken over its QEMU could change that.
namespace understudy::qemu {

struct Marker {
  std::filesystem::path run_dir;
  std::string guest;
  std::uint32_t run = 0;
  bool operator==(const Marker&) const = default;
};

// The value of -name: "guest=understudy:RUN_DIR:GUEST:RUN,debug-threads=on". Threads get names as well, which
// tell vCPUs from the rest.
[[nodiscard]] std::string name_option(const Marker& marker);
// The marker in a command line, if it is one of ours.
[[nodiscard]] std::optional<Marker> find_marker(const std::vector<std::string>& arguments);

// The users whom QEMUs of this run directory may run as besides the daemon's own are kept in a file there,
// for a later daemon that is configured otherwise and for `down`, which knows no configuration.
inline constexpr const char* kUsersFile = "guest-users";
[[nodiscard]] Result<void> remember_user(const std::filesystem::path& run_dir, uid_t uid);
[[nodiscard]] std::vector<uid_t> remembered_users(const std::filesystem::path& run_dir);
// Whether these numbers are nobody else's: an error names a process that has one of them and is no QEMU of
// this run directory. Same numbers mean that one can reach what the other has.
[[nodiscard]] Result<void> check_no_strangers(const std::filesystem::path& run_dir, uid_t first, uid_t last);

// Whether this process is that QEMU. What was written down counts, whatever a command line says: nobody else
// is taken for a run whose process was written down and lives, nor is that process for another.
[[nodiscard]] bool is_the_qemu(const Marker& marker, pid_t pid);

struct FoundProcess {
  pid_t pid = 0;
  Marker marker;
};
// Every living QEMU of this run directory that belongs to this user, or to one that was remembered, by a look
// through /proc. Others may write whatever they like into their command lines.
[[nodiscard]] std::vector<FoundProcess> find_processes(const std::filesystem::path& run_dir);

// QEMU options are separated by commas; one that belongs to a value is doubled.
[[nodiscard]] std::string escape_commas(std::string_view text);

// Ends every QEMU of this run directory with SIGKILL, waits until they are gone, and removes the guests'
// files. For `down` when the daemon is dead; blocks for at most `limit`. Returns how many there were; an
// error names those that would not go.
[[nodiscard]] Result<std::size_t> end_all(const std::filesystem::path& run_dir,
                                          Duration limit = std::chrono::seconds(10));

}  // namespace understudy::qemu

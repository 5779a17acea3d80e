#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::qemu {

// The files of one guest below the run directory; they are of its current run.
struct GuestFiles {
  std::filesystem::path directory;  // RUN_DIR/guests/NAME, mode 0700
  std::filesystem::path qmp_socket;
  std::filesystem::path agent_socket;
  std::filesystem::path log;         // what QEMU prints
  std::filesystem::path definition;  // what the run was started with (run_definition.hpp)
  std::filesystem::path pid;         // a hint for a restarted daemon, proved by the marker

  // Only names the files. Fails when a socket's path is too long for the kernel.
  [[nodiscard]] static Result<GuestFiles> at(const std::filesystem::path& run_dir, const std::string& guest);

  // Makes the directory and takes away what an earlier run left in it, except its log, which is kept as
  // "qemu.log.old".
  [[nodiscard]] Result<void> prepare() const;
  [[nodiscard]] Result<void> write_pid(pid_t process) const;
  [[nodiscard]] std::optional<pid_t> read_pid() const;
  // The last line that QEMU printed, shortened and made harmless for a terminal; empty: none.
  [[nodiscard]] std::string last_log_line() const;
  // Removes the sockets and the pid file, then the directory unless the logs are to be kept.
  void remove(bool keep_logs) const;
};

// Every name that we give to a file in a guest's directory. What ends a guest's files removes these and the
// directory when that is all; a new file has to be named here.
inline constexpr std::array<std::string_view, 7> kGuestFileNames{
    "qmp.sock", "agent.sock", "qemu.log", "qemu.log.old", "definition", "definition.new", "pid"};
// Those of all guests of a run directory, for when none of them lives.
[[nodiscard]] Result<void> remove_all_guest_files(const std::filesystem::path& run_dir);

// A socket that already listens, made here and handed to QEMU, so that a connection can be made at once and
// no moment exists in which the file is there but nobody listens.
[[nodiscard]] Result<UniqueFd> listen_on(const std::filesystem::path& socket);

}  // namespace understudy::qemu

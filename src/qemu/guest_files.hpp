#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::qemu {

// A process and the run that it is the QEMU of. A pid goes to somebody else in time; a pid and when it was
// started do not, and the process cannot change them.
struct WrittenProcess {
  pid_t pid = 0;
  std::uint32_t run = 0;
  std::uint64_t start_ticks = 0;  // 0: written by a release that did not write it down

  // Whether it is the one that has this pid now, and a thread of it, not only its first, may still run.
  [[nodiscard]] bool lives() const;
};

// The files of one guest below the run directory; they are of its current run.
struct GuestFiles {
  std::filesystem::path directory;  // RUN_DIR/guests/NAME, mode 0700
  std::filesystem::path qmp_socket;
  std::filesystem::path agent_socket;
  std::filesystem::path log;         // what QEMU prints
  std::filesystem::path definition;  // what the run was started with (run_definition.hpp)
  std::filesystem::path pid;         // which process it is, for a restarted daemon

  // Only names the files. Fails when a socket's path is too long for the kernel.
  [[nodiscard]] static Result<GuestFiles> at(const std::filesystem::path& run_dir, const std::string& guest);

  // Makes the directory and takes away what an earlier run left in it, except its log, which is kept as
  // "qemu.log.old".
  [[nodiscard]] Result<void> prepare() const;
  // Which process is the QEMU of this run: no other can ever be it.
  [[nodiscard]] Result<void> write_process(pid_t process, std::uint32_t run) const;
  // None: nothing was written, or the host was restarted since.
  [[nodiscard]] std::optional<WrittenProcess> read_process() const;
  // The last line that QEMU printed, shortened and made harmless for a terminal; empty: none.
  [[nodiscard]] std::string last_log_line() const;
  // Removes the sockets and the pid file, then the directory unless the logs are to be kept.
  void remove(bool keep_logs) const;
};

// Every name that we give to a file in a guest's directory. What ends a guest's files removes these and the
// directory when that is all; a new file has to be named here.
inline constexpr std::array<std::string_view, 7> kGuestFileNames{
    "qmp.sock", "agent.sock", "qemu.log", "qemu.log.old", "definition", "definition.new", "pid"};
// The guests of a run directory that have files there, by their names.
[[nodiscard]] std::vector<std::string> guests_with_files(const std::filesystem::path& run_dir);
// Those of all guests of a run directory, for when none of them lives.
[[nodiscard]] Result<void> remove_all_guest_files(const std::filesystem::path& run_dir);

// A socket that already listens, made here and handed to QEMU, so that a connection can be made at once and
// no moment exists in which the file is there but nobody listens.
[[nodiscard]] Result<UniqueFd> listen_on(const std::filesystem::path& socket);

}  // namespace understudy::qemu

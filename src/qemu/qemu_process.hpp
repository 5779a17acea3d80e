#pragma once

#include "base/error.hpp"
#include "base/time.hpp"
#include "base/unique_fd.hpp"
#include "qemu/marker.hpp"
#include "qemu/spawn.hpp"

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

// One QEMU, ours to watch and to end, whether this process started it or an earlier daemon did. Letting go of
// this object leaves the QEMU alone. Used from the loop's thread; nothing is called from inside a request.
class QemuProcess final {
 public:
  // how: "killed by signal 9 (SIGKILL)", "exit status 1".
  using Ended = std::function<void(const std::string& how)>;
  using Stopped = std::function<void(const std::string& how)>;

  // `ended` is called once, when the process has ended.
  [[nodiscard]] static Result<std::unique_ptr<QemuProcess>> spawn(boost::asio::io_context& loop,
                                                                  const SpawnSpec& spec, Ended ended);
  // Takes a living process that carries exactly this marker.
  [[nodiscard]] static Result<std::unique_ptr<QemuProcess>> adopt(boost::asio::io_context& loop, pid_t pid,
                                                                  const Marker& marker, Ended ended);
  ~QemuProcess();
  QemuProcess(const QemuProcess&) = delete;
  QemuProcess& operator=(const QemuProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Set when it has ended, before `ended` is called.
  [[nodiscard]] const std::optional<std::string>& how_it_ended() const { return how_; }

  // A signal to exactly this process, never to one that got its pid later.
  Result<void> signal(int number) const;

  // SIGKILL, then proof: `stopped` is called when no thread of it can execute an instruction of its program,
  // and so of its guest, any more. That is a moment after the signal, while tearing down its memory can take
  // the kernel a second longer; `ended` follows only then. Asked again and again until it is true; `stopped`
  // may therefore be never called, but not too early.
  void kill(Stopped stopped);

 private:
  QemuProcess(boost::asio::io_context& loop, pid_t pid, UniqueFd pidfd, bool child, Ended ended);
  void watch();
  void check_killed();
  std::string reap() const;

  pid_t pid_;
  bool child_;
  boost::asio::posix::stream_descriptor pidfd_;
  boost::asio::steady_timer timer_;
  Ended ended_;
  std::vector<Stopped> stopped_;
  std::optional<std::string> how_;
  std::chrono::steady_clock::time_point killed_at_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // posted calls must not reach a gone object
};

// Text for a waitid() result.
[[nodiscard]] std::string describe_exit(int code, int status);

}  // namespace understudy::qemu

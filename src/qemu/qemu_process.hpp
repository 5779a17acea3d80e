#pragma once

#include "base/error.hpp"
#include "base/time.hpp"
#include "base/unique_fd.hpp"
#include "qemu/marker.hpp"
#include "qemu/spawn.hpp"

#include <signal.h>
#include <sys/types.h>

#include <chrono>
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
  using Held = std::function<void(const Result<void>&)>;
  using Delayed = std::function<void(const std::string& evidence)>;

  // `ended` is called once, when the process has ended.
  [[nodiscard]] static Result<std::unique_ptr<QemuProcess>> spawn(boost::asio::io_context& loop,
                                                                  const SpawnSpec& spec, Ended ended);
  // Takes a process that this one started (spawn_process()), and that nobody has waited for.
  [[nodiscard]] static Result<std::unique_ptr<QemuProcess>> take_child(boost::asio::io_context& loop,
                                                                       pid_t pid, Ended ended);
  // Takes a living process that is the one of exactly this marker (is_the_qemu()).
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

  // SIGSTOP, then proof that every one of its threads is stopped, and so its vCPUs, whatever QEMU believes of
  // them: no error. An error says what was still running when the limit passed. It may be undone by anybody
  // who may send it SIGCONT.
  void stop(Duration limit, Held held);
  Result<void> go_on() const { return signal(SIGCONT); }  // only for what is known to execute nothing then

  // Called while a killed process has still not ended: after `first`, then every `again`.
  void tell_of_delay(Duration first, Duration again, Delayed delayed);

 private:
  QemuProcess(boost::asio::io_context& loop, pid_t pid, UniqueFd pidfd, bool child, Ended ended);
  void watch();
  void check_killed();
  void check_stopped();
  void await_delay(Duration after);
  std::string reap() const;

  pid_t pid_;
  bool child_;
  boost::asio::posix::stream_descriptor pidfd_;
  boost::asio::steady_timer timer_;       // of kill()
  boost::asio::steady_timer stop_timer_;  // of stop()
  boost::asio::steady_timer delay_timer_;
  Ended ended_;
  std::vector<Stopped> stopped_;
  Held held_;
  std::chrono::steady_clock::time_point stop_limit_{};
  Delayed delayed_;
  Duration delay_first_{};
  Duration delay_again_{};
  bool killed_ = false;
  std::optional<std::string> how_;
  std::chrono::steady_clock::time_point killed_at_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // posted calls must not reach a gone object
};

// Text for a waitid() result.
[[nodiscard]] std::string describe_exit(int code, int status);

}  // namespace understudy::qemu

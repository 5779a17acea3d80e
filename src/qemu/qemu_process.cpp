#include "qemu/qemu_process.hpp"

#include "qemu/proc.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::qemu {

namespace asio = boost::asio;

namespace {

// After SIGKILL nobody tells when the last thread has stopped, only when the whole process is gone: look
// often while that is a matter of microseconds, then rarely.
constexpr auto kEagerInterval = std::chrono::microseconds(250);
constexpr auto kEagerTime = std::chrono::milliseconds(50);
constexpr auto kPatientInterval = std::chrono::milliseconds(20);

UniqueFd open_pidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace

std::string describe_exit(int code, int status) {
  if (code == CLD_EXITED) return "exit status " + std::to_string(status);
  const char* name = ::sigabbrev_np(status);
  return "killed by signal " + std::to_string(status) +
         (name != nullptr ? " (SIG" + std::string(name) + ")" : "") +
         (code == CLD_DUMPED ? ", core dumped" : "");
}

QemuProcess::QemuProcess(asio::io_context& loop, pid_t pid, UniqueFd pidfd, bool child, Ended ended)
    : pid_(pid),
      child_(child),
      pidfd_(loop, pidfd.release()),
      timer_(loop),
      stop_timer_(loop),
      delay_timer_(loop),
      ended_(std::move(ended)) {
  watch();
}

QemuProcess::~QemuProcess() {
  *alive_ = false;
}

Result<std::unique_ptr<QemuProcess>> QemuProcess::spawn(asio::io_context& loop, const SpawnSpec& spec,
                                                        Ended ended) {
  const auto pid = spawn_process(spec);
  if (!pid) return failure(pid.error().message);
  return take_child(loop, *pid, std::move(ended));
}

Result<std::unique_ptr<QemuProcess>> QemuProcess::take_child(asio::io_context& loop, pid_t pid, Ended ended) {
  UniqueFd pidfd = open_pidfd(pid);
  if (!pidfd) {
    const std::string why = std::strerror(errno);
    ::kill(pid, SIGKILL);  // a child that was not waited for: the pid is still its own
    ::waitpid(pid, nullptr, 0);
    return failure("cannot watch the new QEMU (pidfd_open: " + why + "); Linux 5.3 or later is needed");
  }
  return std::unique_ptr<QemuProcess>(new QemuProcess(loop, pid, std::move(pidfd), true, std::move(ended)));
}

Result<std::unique_ptr<QemuProcess>> QemuProcess::adopt(asio::io_context& loop, pid_t pid,
                                                        const Marker& marker, Ended ended) {
  UniqueFd pidfd = open_pidfd(pid);
  if (!pidfd) return failure("process " + std::to_string(pid) + " is gone");
  // The pidfd holds the process, so what is read now is about the one that will be signalled later.
  const bool is_it = is_the_qemu(marker, pid);
  pollfd end{pidfd.get(), POLLIN, 0};
  const bool gone = ::poll(&end, 1, 0) != 0;
  if (gone || !is_it)
    return failure("process " + std::to_string(pid) + " is not the QEMU of guest " + marker.guest + " (run " +
                   std::to_string(marker.run) + ")");
  return std::unique_ptr<QemuProcess>(new QemuProcess(loop, pid, std::move(pidfd), false, std::move(ended)));
}

void QemuProcess::watch() {
  pidfd_.async_wait(asio::posix::stream_descriptor::wait_read, [this, alive = alive_](auto error) {
    if (error || !*alive) return;
    // Asio may complete a wait with an event of a former descriptor (seen with 1.81: a pidfd registered in
    // the same turn of the loop as another one was closed). Only the kernel's word counts here.
    pollfd end{pidfd_.native_handle(), POLLIN, 0};
    if (::poll(&end, 1, 0) != 1 || (end.revents & POLLIN) == 0) return watch();
    how_ = reap();
    timer_.cancel();
    stop_timer_.cancel();
    delay_timer_.cancel();
    held_ = {};  // the end of the process is what is said
    for (const Stopped& stopped : std::exchange(stopped_, {})) {
      stopped(*how_);
      if (!*alive) return;
    }
    // A local copy: the callee may destroy this object.
    const Ended ended = std::exchange(ended_, {});
    if (ended) ended(*how_);
  });
}

std::string QemuProcess::reap() const {
  siginfo_t info{};
  const int fd = const_cast<asio::posix::stream_descriptor&>(pidfd_).native_handle();
  if (child_ &&
      ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(fd), &info, WEXITED | WNOHANG) == 0 &&
      info.si_pid == pid_)
    return describe_exit(info.si_code, info.si_status);
  return "its process is gone (an earlier daemon started it, so how it ended is not known)";
}

Result<void> QemuProcess::signal(int number) const {
  const int fd = const_cast<asio::posix::stream_descriptor&>(pidfd_).native_handle();
  if (::syscall(SYS_pidfd_send_signal, fd, number, nullptr, 0) == 0) return {};
  return failure("cannot signal QEMU (pid " + std::to_string(pid_) + "): " + std::strerror(errno));
}

void QemuProcess::tell_of_delay(Duration first, Duration again, Delayed delayed) {
  delay_first_ = first;
  delay_again_ = again;
  delayed_ = std::move(delayed);
}

void QemuProcess::await_delay(Duration after) {
  delay_timer_.expires_after(after);
  delay_timer_.async_wait([this, alive = alive_](auto error) {
    if (error || !*alive || how_) return;
    await_delay(delay_again_);
    const std::string left = threads_left(pid_);
    delayed_("process " + std::to_string(pid_) + " was sent SIGKILL and has not ended: " +
             (left.empty() ? "the kernel is still taking it apart" : left));
  });
}

void QemuProcess::kill(Stopped stopped) {
  if (!std::exchange(killed_, true) && delayed_) await_delay(delay_first_);
  killed_at_ = std::chrono::steady_clock::now();
  stopped_.push_back(std::move(stopped));
  (void)signal(SIGKILL);  // if it has ended already, check_killed() sees it
  asio::post(pidfd_.get_executor(), [this, alive = alive_] {
    if (*alive) check_killed();
  });
}

void QemuProcess::check_killed() {
  if (stopped_.empty() && !how_) return;
  const bool over = how_ || (signal(SIGKILL).has_value() && all_threads_over(pid_));
  if (over) {
    timer_.cancel();
    const std::string how = how_ ? *how_ : "SIGKILL, and none of its threads can run any more";
    for (const Stopped& each : std::exchange(stopped_, {})) {
      const auto alive = alive_;
      each(how);
      if (!*alive) return;
    }
    return;
  }
  const bool eager = std::chrono::steady_clock::now() - killed_at_ < kEagerTime;
  timer_.expires_after(
      eager ? std::chrono::duration_cast<std::chrono::steady_clock::duration>(kEagerInterval)
            : std::chrono::duration_cast<std::chrono::steady_clock::duration>(kPatientInterval));
  timer_.async_wait([this, alive = alive_](auto error) {
    if (!error && *alive) check_killed();
  });
}

void QemuProcess::stop(Duration limit, Held held) {
  held_ = std::move(held);
  stop_limit_ = std::chrono::steady_clock::now() + limit;
  (void)signal(SIGSTOP);  // if it has ended already, its end is told
  asio::post(pidfd_.get_executor(), [this, alive = alive_] {
    if (*alive) check_stopped();
  });
}

void QemuProcess::check_stopped() {
  if (!held_ || how_) return;
  const bool stopped = all_threads_stopped(pid_);
  if (stopped || std::chrono::steady_clock::now() >= stop_limit_) {
    const Held held = std::exchange(held_, {});
    const std::string left = threads_left(pid_);
    return held(stopped ? Result<void>{} : failure("not all of its threads stopped: " + left));
  }
  stop_timer_.expires_after(kEagerInterval);
  stop_timer_.async_wait([this, alive = alive_](auto error) {
    if (!error && *alive) check_stopped();
  });
}

}  // namespace understudy::qemu

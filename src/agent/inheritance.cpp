#include "agent/inheritance.hpp"

#include "base/kernel_files.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace understudy::agent {

namespace {

constexpr rlim_t kUsualDescriptors = 1024;  // the soft limit stays where select() still works, as everywhere
constexpr rlim_t kUsualStackBytes = 8ULL << 20;

void unblock_signals() {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void set_limit(__rlimit_resource_t resource, rlim_t soft, rlim_t hard) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) return;
  const rlim_t before = limit.rlim_max;
  limit = {std::min(soft, hard), hard};
  if (::setrlimit(resource, &limit) == 0) return;
  limit = {std::min(soft, before), before};  // no right to raise it
  (void)::setrlimit(resource, &limit);
}

// What would end or hamper a program for reasons that nobody would look for.
void lift_limits() {
  for (const __rlimit_resource_t resource :
       {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_RSS, RLIMIT_AS, RLIMIT_LOCKS}) {
    set_limit(resource, RLIM_INFINITY, RLIM_INFINITY);
  }
  set_limit(RLIMIT_STACK, kUsualStackBytes, RLIM_INFINITY);
}

void stop_timers() {
  const itimerval none{};
  for (const __itimer_which_t timer : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF})
    (void)::setitimer(timer, &none, nullptr);
}

}  // namespace

// Not by signal(), which leaves out those that the C library keeps for itself: whoever started us may have
// ignored them all the same, and that is handed down.
void default_signals() {
  struct {
    void* handler = nullptr;
    unsigned long flags = 0;
    void* restorer = nullptr;
    unsigned long mask = 0;
  } ordinary;
  constexpr int kSignals = 64;
  for (int signal = 1; signal <= kSignals; ++signal) {
    (void)::syscall(SYS_rt_sigaction, signal, &ordinary, nullptr, sizeof ordinary.mask);
  }
  unblock_signals();
}

void have_standard_descriptors() {
  for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; ++standard) {
    if (::fcntl(standard, F_GETFD) >= 0) continue;
    const int fd = ::open("/dev/null", O_RDWR);
    if (fd < 0 || fd == standard) continue;
    (void)::dup2(fd, standard);
    ::close(fd);
  }
}

std::vector<std::string> take_known_state() {
  std::vector<std::string> missing;
  have_standard_descriptors();
  // Nothing that was left open reaches an application, nor is ever taken for one of ours.
  (void)::syscall(SYS_close_range, STDERR_FILENO + 1U, ~0U, CLOSE_RANGE_CLOEXEC);
  stop_timers();
  default_signals();
  lift_limits();
  set_limit(RLIMIT_NOFILE, kMostDescriptors, kMostDescriptors);
  ::umask(022);
  if (::chdir("/") != 0) missing.push_back(errno_text("its working directory is not /"));
  ::clearenv();
  (void)::setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", 1);
  return missing;
}

void ordinary_limits(unsigned long long processes, bool counted) {
  lift_limits();
  set_limit(RLIMIT_CORE, 0, RLIM_INFINITY);
  set_limit(RLIMIT_NOFILE, kUsualDescriptors, kMostDescriptors);
  if (counted) set_limit(RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY);
  if (processes == 0) return;
  if (!counted) set_limit(RLIMIT_NPROC, processes, processes);
  set_limit(RLIMIT_SIGPENDING, processes, processes);
}

void ordinary_scheduling(int nice) {
  const sched_param ordinary{};
  (void)::sched_setscheduler(0, SCHED_OTHER, &ordinary);
  (void)::setpriority(PRIO_PROCESS, 0, nice);
  cpu_set_t all;
  std::memset(&all, 0xff, sizeof all);
  (void)::sched_setaffinity(0, sizeof all, &all);
  (void)::personality(PER_LINUX);
  stop_timers();
}

}  // namespace understudy::agent

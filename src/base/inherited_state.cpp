#include "base/inherited_state.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <climits>

namespace understudy {

namespace {

constexpr rlim_t kStackBytes = 8U << 20;
constexpr rlim_t kFewestDescriptors = 64;      // a service with less cannot even hold its guests' sockets
constexpr rlim_t kOrdinaryDescriptors = 1024;  // of a command that we run: some close all up to the limit
constexpr const char* kServiceScore = "-900";  // of 1000: after everything that holds no application
constexpr const char* kOrdinaryScore = "0";

std::string because() {
  return std::strerror(errno);
}

Result<void> open_standard_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest one that is free, which is this one.
    if (::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) != fd) {
      return failure("descriptor " + std::to_string(fd) +
                     " is closed and /dev/null cannot be opened in its place: " + because() +
                     "; start it with standard input, output and error open");
    }
  }
  return {};
}

// What a person or a script meant by ignoring them: `nohup`, and a job in the background of a script.
bool is_left_ignored(ProgramKind kind, int number) {
  if (kind != ProgramKind::command) return false;
  if (number != SIGHUP && number != SIGINT && number != SIGQUIT) return false;
  struct sigaction now {};
  return ::sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

// Nothing that was caught before lives on over exec: that is our own run-time library's, a sanitizer's.
bool is_caught(int number) {
  struct sigaction now {};
  return ::sigaction(number, nullptr, &now) == 0 && now.sa_handler != SIG_IGN && now.sa_handler != SIG_DFL;
}

// The signals between the named ones and SIGRTMIN are the C library's own: it gives them to nobody, and
// whoever started us with a copy of it may have left them ignored (seen of CMake's ctest). Ignored they would
// keep a change of user from reaching every thread. So the kernel is asked itself.
void stop_ignoring_signals_of_libc() {
  struct KernelSigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
  };
  for (int number = __SIGRTMIN; number < SIGRTMIN; ++number) {
    KernelSigaction now{};
    const KernelSigaction plain{SIG_DFL, 0, nullptr, 0};
    if (::syscall(SYS_rt_sigaction, number, nullptr, &now, sizeof now.mask) != 0) continue;
    if (now.handler == SIG_IGN) (void)::syscall(SYS_rt_sigaction, number, &plain, nullptr, sizeof plain.mask);
  }
}

void reset_signals(ProgramKind kind) {
  stop_ignoring_signals_of_libc();
  struct sigaction ignore {};
  struct sigaction plain {};
  ignore.sa_handler = SIG_IGN;
  plain.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) {
    if (is_left_ignored(kind, number) || is_caught(number)) continue;
    // One that was blocked and is pending from before is dropped, or it would strike when it is let through.
    ::sigaction(number, &ignore, nullptr);
    ::sigaction(number, &plain, nullptr);
  }
  if (kind == ProgramKind::service) {
    // A write that fails says so; a terminal that we write to in the background stops nobody.
    for (const int number : {SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU}) ::sigaction(number, &ignore, nullptr);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Both live on over exec.
void drop_timers_and_ties() {
  const itimerval never{};
  for (const auto which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) ::setitimer(which, &never, nullptr);
  ::prctl(PR_SET_PDEATHSIG, 0);
  ::prctl(PR_SET_TIMERSLACK, 0);
}

struct Limit {
  __rlimit_resource resource;
  const char* name;
  const char* option;  // of ulimit
  bool has_to_be_infinite;
};

constexpr std::array<Limit, 10> kLimits{{{RLIMIT_FSIZE, "the size of its files", "-f", true},
                                         {RLIMIT_CPU, "its processor time", "-t", true},
                                         {RLIMIT_AS, "its address space", "-v", true},
                                         {RLIMIT_DATA, "its data", "-d", true},
                                         {RLIMIT_NOFILE, "its descriptors", "-n", false},
                                         {RLIMIT_NPROC, "its user's processes", "-u", false},
                                         {RLIMIT_MEMLOCK, "its locked memory", "-l", false},
                                         {RLIMIT_SIGPENDING, "its pending signals", "-i", false},
                                         {RLIMIT_MSGQUEUE, "its message queues", "-q", false},
                                         {RLIMIT_LOCKS, "its file locks", "-x", false}}};

// A limit that would end it in the middle of its work, or tear its files, is said at its start.
Result<void> raise_limits(ProgramKind kind) {
  for (const Limit& each : kLimits) {
    rlimit limit{};
    if (::getrlimit(each.resource, &limit) != 0) continue;
    if (each.has_to_be_infinite && limit.rlim_max != RLIM_INFINITY) {
      const rlimit infinite{RLIM_INFINITY, RLIM_INFINITY};
      if (::setrlimit(each.resource, &infinite) == 0) continue;  // as root
      if (kind == ProgramKind::service) {
        return failure(std::string("it cannot work with a limit on ") + each.name + " (ulimit " +
                       each.option + "); start it with `ulimit " + each.option + " unlimited`");
      }
    }
    limit.rlim_cur = limit.rlim_max;
    if (kind == ProgramKind::service || each.has_to_be_infinite) ::setrlimit(each.resource, &limit);
  }
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_max < kFewestDescriptors &&
      kind == ProgramKind::service) {
    return failure("it cannot work with " + std::to_string(descriptors.rlim_max) +
                   " descriptors (ulimit -n); start it with at least " +
                   std::to_string(kOrdinaryDescriptors));
  }
  return {};
}

// Our own stack has its limit since exec; this is for threads and for what we start. "unlimited" is none for
// a thread, and one of a few pages ends it at its first deep call.
void usual_stack() {
  rlimit stack{};
  if (::getrlimit(RLIMIT_STACK, &stack) == 0) {
    stack.rlim_cur = std::min(kStackBytes, stack.rlim_max);
    ::setrlimit(RLIMIT_STACK, &stack);
  }
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

void no_core_file() {
  rlimit core{};
  if (::getrlimit(RLIMIT_CORE, &core) != 0) return;
  core.rlim_cur = 0;
  ::setrlimit(RLIMIT_CORE, &core);
}

// With system calls alone: also used between fork and exec.
bool write_score(const char* score) {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, score, std::strlen(score)) > 0;
  ::close(fd);
  return written;
}

bool ordinary_scheduling() {
  sched_param none{};
  const int policy = ::sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
  return policy == SCHED_OTHER || ::sched_setscheduler(0, SCHED_OTHER, &none) == 0;
}

void find_place(KnownState& state) {
  if (!write_score(kServiceScore)) (void)write_score(kOrdinaryScore);
  if (!ordinary_scheduling()) {
    state.remarks.push_back("its scheduling policy is not an ordinary one and cannot be changed (" +
                            because() + "); failures may be seen late");
  }
  errno = 0;
  const int nice = ::getpriority(PRIO_PROCESS, 0);
  if (nice > 0 && ::setpriority(PRIO_PROCESS, 0, 0) != 0) {
    state.remarks.push_back("it runs at niceness " + std::to_string(nice) +
                            ", which this user may not change: on a "
                            "busy host failures are seen late; start it without `nice`");
  }
}

// What steers a library or a program, and not what it is to do. Our own has read its part already; what we
// start is not to.
void clean_environment() {
  for (const char* name : {"LD_PRELOAD",
                           "LD_AUDIT",
                           "LD_DEBUG",
                           "LD_DEBUG_OUTPUT",
                           "LD_PROFILE",
                           "LD_BIND_NOW",
                           "LD_SHOW_AUXV",
                           "LD_TRACE_LOADED_OBJECTS",
                           "MALLOC_ARENA_MAX",
                           "MALLOC_ARENA_TEST",
                           "MALLOC_CHECK_",
                           "MALLOC_MMAP_MAX_",
                           "MALLOC_MMAP_THRESHOLD_",
                           "MALLOC_PERTURB_",
                           "MALLOC_TOP_PAD_",
                           "MALLOC_TRACE",
                           "MALLOC_TRIM_THRESHOLD_",
                           "GLIBC_TUNABLES",
                           "TMPDIR",
                           "BASH_ENV",
                           "ENV",
                           "CDPATH",
                           "IFS",
                           "GCONV_PATH",
                           "LOCPATH",
                           "NLSPATH",
                           "LC_ALL",
                           "LC_CTYPE",
                           "LC_COLLATE",
                           "LC_MESSAGES",
                           "LC_MONETARY",
                           "LC_NUMERIC",
                           "LC_TIME",
                           "LANGUAGE"}) {
    ::unsetenv(name);
  }
  ::setenv("LANG", "C.UTF-8", 1);
}

}  // namespace

Result<KnownState> enter_known_state(ProgramKind kind) {
  if (auto open = open_standard_descriptors(); !open) return tl::unexpected(open.error());
  drop_timers_and_ties();
  reset_signals(kind);
  if (auto raised = raise_limits(kind); !raised) return tl::unexpected(raised.error());
  usual_stack();
  ::umask(077);
  KnownState state;
  if (kind == ProgramKind::service) {
    no_core_file();  // it would hold what clients and guests sent
    find_place(state);
    clean_environment();
  }
  return state;
}

Result<void> leave_starter(std::vector<int> keep) {
  if (::chdir("/") != 0) return failure("it cannot leave its working directory: " + because());
  std::sort(keep.begin(), keep.end());
  auto first = static_cast<unsigned>(STDERR_FILENO + 1);
  for (const int fd : keep) {
    const auto kept = static_cast<unsigned>(fd);
    if (fd < 0 || kept < first) continue;
    if (kept > first) ::close_range(first, kept - 1, 0);
    first = kept + 1;
  }
  ::close_range(first, ~0U, 0);
  return {};
}

Result<std::string> absolute_path(const std::string& path) {
  if (path.empty() || path.front() == '/') return path;
  std::array<char, PATH_MAX> here{};
  // Since Linux 2.6.36 a directory outside of our root is "(unreachable)", which no path starts with.
  if (::getcwd(here.data(), here.size()) == nullptr || here[0] != '/') {
    const std::string why = here[0] != '\0' ? "it is out of reach" : because();
    return failure("\"" + path + "\" is relative to a working directory that cannot be used (" + why +
                   "); go to another (cd /), or name the file from the root, as in /etc/understudy.toml");
  }
  return std::string(here.data()) + "/" + path;
}

void become_ordinary_child() {
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &plain, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  (void)!::chdir("/");
  no_core_file();
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
    descriptors.rlim_cur = std::min(descriptors.rlim_max, kOrdinaryDescriptors);
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
  }
  // May fail without privileges; then it is as its starter is.
  (void)ordinary_scheduling();
  (void)::setpriority(PRIO_PROCESS, 0, 0);
  (void)write_score(kOrdinaryScore);
}

const std::vector<int>& signals_that_end() {
  static const std::vector<int> all{SIGTERM, SIGINT, SIGQUIT};
  return all;
}

const std::vector<int>& signals_without_meaning() {
  static const std::vector<int> all = [] {
    std::vector<int> signals{SIGHUP,  SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM,
                             SIGPROF, SIGIO,   SIGPWR,  SIGXCPU, SIGSTKFLT};
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) signals.push_back(number);
    return signals;
  }();
  return all;
}

std::string signal_name(int number) {
  if (number >= SIGRTMIN && number <= SIGRTMAX) {
    return number == SIGRTMIN ? "SIGRTMIN" : "SIGRTMIN+" + std::to_string(number - SIGRTMIN);
  }
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(number);
}

std::string without_meaning(int number, const std::string& program) {
  return signal_name(number) + " means nothing to " + program +
         ": no file is read again and nothing was changed; SIGTERM ends it";
}

}  // namespace understudy

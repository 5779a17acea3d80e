#include "base/inherited_state.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>

// Each test inherits something odd in a process of its own, which then says what is wrong with it, if
// anything.
namespace understudy {
namespace {

using testing::HasSubstr;

// What the child says; "" when all is well.
std::string in_a_child(const std::function<std::string()>& run) {
  std::array<int, 2> pipe{};
  EXPECT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const int high = ::fcntl(pipe[1], F_DUPFD_CLOEXEC, 200);  // the child may close the low ones
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string said = run();
    (void)!::write(high, said.data(), said.size());
    ::_exit(0);
  }
  ::close(pipe[1]);
  ::close(high);
  std::string said;
  std::array<char, 512> chunk{};
  for (ssize_t count; (count = ::read(pipe[0], chunk.data(), chunk.size())) > 0;)
    said.append(chunk.data(), static_cast<std::size_t>(count));
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) said += "killed by signal " + std::to_string(WTERMSIG(status));
  return said;
}

std::string enter(ProgramKind kind = ProgramKind::service) {
  const auto state = enter_known_state(kind);
  return state ? "" : state.error().message;
}

bool is_ignored(int number) {
  struct sigaction now {};
  ::sigaction(number, nullptr, &now);
  return now.sa_handler == SIG_IGN;
}

TEST(InheritedState, SignalsHaveTheirDefaultMeaningAndNoneIsBlocked) {
  EXPECT_EQ(in_a_child([] {
              sigset_t all;
              ::sigfillset(&all);
              ::sigprocmask(SIG_SETMASK, &all, nullptr);
              for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_IGN);
              if (const auto why = enter(); !why.empty()) return why;
              sigset_t now;
              ::sigprocmask(SIG_SETMASK, nullptr, &now);
              const std::set<int> ignored{SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU};
              std::string wrong;
              for (int number = 1; number < NSIG; ++number) {
                if (number == 32 || number == 33) continue;  // the C library's own
                if (::sigismember(&now, number) == 1) wrong += std::to_string(number) + " is blocked ";
                if (is_ignored(number) != (ignored.count(number) == 1))
                  wrong += std::to_string(number) + " is wrongly ignored or not ";
              }
              return wrong;
            }),
            "");
}

// `trap '' CHLD` in whatever started it: no child could be waited for any more.
TEST(InheritedState, ChildrenCanBeWaitedFor) {
  EXPECT_EQ(in_a_child([] {
              ::signal(SIGCHLD, SIG_IGN);
              if (const auto why = enter(); !why.empty()) return why;
              const pid_t pid = ::fork();
              if (pid == 0) ::_exit(7);
              int status = 0;
              return ::waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7
                         ? std::string()
                         : std::string("it was not waited for");
            }),
            "");
}

TEST(InheritedState, ASignalThatWasPendingBeforeDoesNotStrikeLater) {
  EXPECT_EQ(in_a_child([] {
              sigset_t term;
              ::sigemptyset(&term);
              ::sigaddset(&term, SIGTERM);
              ::sigprocmask(SIG_BLOCK, &term, nullptr);
              ::raise(SIGTERM);
              return enter();
            }),
            "");
}

// perl -e 'alarm 5; exec "understudyd"': the timer lives on, and its signal ends who knows nothing of it.
TEST(InheritedState, ATimerOfTheStarterIsDropped) {
  EXPECT_EQ(in_a_child([] {
              ::alarm(1000);
              ::prctl(PR_SET_PDEATHSIG, SIGKILL);
              if (const auto why = enter(); !why.empty()) return why;
              itimerval left{};
              ::getitimer(ITIMER_REAL, &left);
              int dies_with_parent = 0;
              ::prctl(PR_GET_PDEATHSIG, &dies_with_parent);
              return std::string(left.it_value.tv_sec != 0 ? "the timer runs" : "") +
                     (dies_with_parent != 0 ? "it dies with its starter" : "");
            }),
            "");
}

TEST(InheritedState, ClosedStandardDescriptorsAreOpened) {
  EXPECT_EQ(in_a_child([] {
              for (int fd = 0; fd < 3; ++fd) ::close(fd);
              if (const auto why = enter(); !why.empty()) return why;
              std::string wrong;
              for (int fd = 0; fd < 3; ++fd) {
                if (::fcntl(fd, F_GETFD) < 0) wrong += std::to_string(fd) + " is closed ";
              }
              const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
              return wrong + (next < 3 ? "the next file is a standard descriptor" : "");
            }),
            "");
}

TEST(InheritedState, FilesAreItsUsersAlone) {
  EXPECT_EQ(in_a_child([] {
              ::umask(0);
              if (const auto why = enter(); !why.empty()) return why;
              return ::umask(0) == 077 ? std::string() : std::string("umask");
            }),
            "");
}

TEST(InheritedState, LimitsAreAsHighAsTheyMayBeAndNoneIsLeftThatTearsFiles) {
  EXPECT_EQ(in_a_child([] {
              for (const auto resource : {RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_CORE, RLIMIT_NPROC}) {
                rlimit limit{};
                ::getrlimit(resource, &limit);
                limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, resource == RLIMIT_NPROC ? 10'000 : 100);
                ::setrlimit(resource, &limit);
              }
              if (const auto why = enter(); !why.empty()) return why;
              std::string wrong;
              for (const auto resource : {RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_NPROC}) {
                rlimit limit{};
                ::getrlimit(resource, &limit);
                if (limit.rlim_cur != limit.rlim_max) wrong += std::to_string(resource) + " ";
              }
              rlimit core{};
              ::getrlimit(RLIMIT_CORE, &core);
              return wrong + (core.rlim_cur != 0 ? "core files" : "");
            }),
            "");
}

TEST(InheritedState, ALimitThatItCannotWorkWithIsSaidWithWhatToDo) {
  const std::string said = in_a_child([] {
    // Root would raise it again.
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return std::string("not another user");
    const rlimit limit{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return enter();
  });
  EXPECT_EQ(said,
            "it cannot work with a limit on the size of its files (ulimit -f); start it with `ulimit -f "
            "unlimited`");
  EXPECT_THAT(in_a_child([] {
                const rlimit limit{32, 32};
                ::setrlimit(RLIMIT_NOFILE, &limit);
                return enter();
              }),
              HasSubstr("it cannot work with 32 descriptors (ulimit -n)"));
}

TEST(InheritedState, AThreadHasAStackWhateverTheLimitSays) {
  EXPECT_EQ(in_a_child([] {
              rlimit stack{};
              ::getrlimit(RLIMIT_STACK, &stack);
              stack.rlim_cur = std::min<rlim_t>(stack.rlim_max, 64 << 10);
              ::setrlimit(RLIMIT_STACK, &stack);
              if (const auto why = enter(); !why.empty()) return why;
              pthread_attr_t attributes;
              ::pthread_getattr_default_np(&attributes);
              std::size_t bytes = 0;
              ::pthread_attr_getstacksize(&attributes, &bytes);
              return bytes >= (8U << 20) ? std::string() : "a thread has " + std::to_string(bytes) + " bytes";
            }),
            "");
}

TEST(InheritedState, SchedulingIsOrdinaryOrItIsSaid) {
  EXPECT_EQ(in_a_child([] {
              (void)!::nice(10);
              const sched_param none{};
              ::sched_setscheduler(0, SCHED_BATCH, &none);
              const auto state = enter_known_state(ProgramKind::service);
              if (!state) return state.error().message;
              if (::sched_getscheduler(0) != SCHED_OTHER) return std::string("its policy is not ordinary");
              const bool is_nice = ::getpriority(PRIO_PROCESS, 0) > 0;
              if (is_nice == state->remarks.empty()) return std::string("its niceness is not said");
              return ::geteuid() == 0 && is_nice ? std::string("root did not change it") : std::string();
            }),
            "");
}

TEST(InheritedState, WhatItStartsIsNotSteeredByLeftoversOfTheEnvironment) {
  EXPECT_EQ(in_a_child([] {
              for (const char* name : {"LC_ALL", "TMPDIR", "LD_PRELOAD", "MALLOC_PERTURB_", "BASH_ENV"})
                ::setenv(name, "garbage", 1);
              ::setenv("PATH", "/usr/bin", 1);
              if (const auto why = enter(); !why.empty()) return why;
              std::string wrong;
              for (const char* name : {"LC_ALL", "TMPDIR", "LD_PRELOAD", "MALLOC_PERTURB_", "BASH_ENV"}) {
                if (std::getenv(name) != nullptr) wrong += std::string(name) + " ";
              }
              return wrong + (std::string(std::getenv("PATH")) == "/usr/bin" ? "" : "PATH");
            }),
            "");
}

// `nohup understudy up`, and a script's job in the background.
TEST(InheritedState, WhatACommandIsToIgnoreStaysIgnored) {
  EXPECT_EQ(in_a_child([] {
              for (const int number : {SIGHUP, SIGINT, SIGPIPE, SIGCHLD}) ::signal(number, SIG_IGN);
              if (const auto why = enter(ProgramKind::command); !why.empty()) return why;
              return std::string(is_ignored(SIGHUP) && is_ignored(SIGINT) ? "" : "hang-up ends it") +
                     (is_ignored(SIGPIPE) ? "a closed pipe does not end it " : "") +
                     (is_ignored(SIGCHLD) ? "it cannot wait for children" : "");
            }),
            "");
}

TEST(InheritedState, ServicesHoldNothingOfTheirStarter) {
  EXPECT_EQ(in_a_child([] {
              const int strange = ::open("/dev/null", O_RDONLY);
              const int kept = ::open("/dev/null", O_RDONLY);
              if (const auto left = leave_starter({kept}); !left) return left.error().message;
              std::string wrong;
              if (::fcntl(strange, F_GETFD) >= 0) wrong += "a descriptor of its starter is open ";
              if (::fcntl(kept, F_GETFD) < 0) wrong += "what it needs is closed ";
              std::error_code error;
              if (std::filesystem::current_path(error) != "/") wrong += "it is not in /";
              return wrong;
            }),
            "");
}

TEST(InheritedState, AWorkingDirectoryThatIsGoneIsSaid) {
  EXPECT_EQ(absolute_path("/etc/x").value(), "/etc/x");
  EXPECT_EQ(absolute_path("x").value(), std::filesystem::current_path().string() + "/x");
  EXPECT_THAT(
      in_a_child([] {
        std::string name = (std::filesystem::temp_directory_path() / "understudy-gone-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr || ::chdir(name.c_str()) != 0)
          return std::string("no directory");
        ::rmdir(name.c_str());
        const auto path = absolute_path("understudy.toml");
        return path ? *path : path.error().message;
      }),
      testing::StartsWith("\"understudy.toml\" is relative to a working directory that cannot be used"));
}

TEST(InheritedState, WhatIsStartedIsOrdinary) {
  EXPECT_EQ(in_a_child([] {
              sigset_t all;
              ::sigfillset(&all);
              ::sigprocmask(SIG_SETMASK, &all, nullptr);
              ::signal(SIGPIPE, SIG_IGN);
              ::umask(0);
              become_ordinary_child();
              sigset_t now;
              ::sigprocmask(SIG_SETMASK, nullptr, &now);
              std::string wrong;
              if (::sigismember(&now, SIGTERM) == 1) wrong += "SIGTERM is blocked ";
              if (is_ignored(SIGPIPE)) wrong += "SIGPIPE is ignored ";
              if (::umask(0) != 022) wrong += "umask ";
              rlimit core{};
              ::getrlimit(RLIMIT_CORE, &core);
              if (core.rlim_cur != 0) wrong += "core files ";
              std::ifstream in("/proc/self/oom_score_adj");
              int score = 1;
              if (in >> score; score != 0 && ::geteuid() == 0)
                wrong += "memory score " + std::to_string(score);
              return wrong;
            }),
            "");
}

// None of them may be forgotten: by default it would end a service without a word.
TEST(InheritedState, EverySignalIsCaughtIgnoredOrMeantToKill) {
  const std::set<int> kills{SIGKILL, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
  const std::set<int> harmless{SIGSTOP, SIGTSTP, SIGCONT, SIGCHLD, SIGURG, SIGWINCH};
  const std::set<int> ignored{SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU};
  std::multiset<int> all(signals_that_end().begin(), signals_that_end().end());
  all.insert(signals_without_meaning().begin(), signals_without_meaning().end());
  for (const auto& set : {kills, harmless, ignored}) all.insert(set.begin(), set.end());
  for (int number = 1; number <= SIGRTMAX; ++number) {
    if (number >= 32 && number < SIGRTMIN) continue;
    EXPECT_EQ(all.count(number), 1U) << signal_name(number);
  }
  EXPECT_EQ(signal_name(SIGHUP), "SIGHUP");
  EXPECT_EQ(signal_name(SIGRTMIN + 3), "SIGRTMIN+3");
  EXPECT_EQ(
      without_meaning(SIGHUP, "understudyd"),
      "SIGHUP means nothing to understudyd: no file is read again and nothing was changed; SIGTERM ends it");
}

}  // namespace
}  // namespace understudy

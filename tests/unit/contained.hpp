#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace understudy {

// For test programs that mount, or start what is made to outlive its starter: of root they run with processes
// and mounts of their own, which the kernel ends with them, however they end (a time limit's SIGKILL, too).
// Who is not root mounts nothing, and where root may have no namespaces the tests run as they are.
//
//   this program            waits, and ends as they do; dies it, so does
//   +- the first process    of the namespace, which collects whoever lost a parent; with it everything ends
//      +- this program      goes on to the tests
class Contained final : public testing::Environment {
 public:
  void SetUp() override {
    if (std::exchange(entered_, true) || ::geteuid() != 0) return;
    std::array<int, 2> ready{-1, -1};
    if (::pipe2(ready.data(), O_CLOEXEC) != 0) return;
    std::fflush(nullptr);  // or it would be said twice
    // There is no other thread yet, and the child does not return before it has forked properly.
    const auto first = static_cast<pid_t>(
        ::syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    ::close(ready[first == 0 ? 0 : 1]);
    if (first == 0) return be_first(ready[1]);
    char byte = 0;
    const bool contained = first > 0 && ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]);
    const int status = first > 0 ? await(first) : 0;
    if (contained) ::_exit(status);
  }

 private:
  // Returns in the process of the tests alone.
  static void be_first(int ready) {
    const bool may = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                     ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                     ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
    // A parent that is dead already reads nothing any more.
    if (!may || ::write(ready, "r", 1) != 1) ::_exit(1);
    ::close(ready);
    const pid_t tests = ::fork();
    if (tests == 0) return;
    ::_exit(tests < 0 ? 1 : await(tests));
  }
  // Its exit status, or as a shell tells of a signal.
  static int await(pid_t child) {
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(-1, &status, 0)) != child) {
      if (ended < 0 && errno != EINTR) return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  bool entered_ = false;
};

inline testing::Environment* const contained = testing::AddGlobalTestEnvironment(new Contained);

}  // namespace understudy

#pragma once

#include <signal.h>

#include <cerrno>

namespace understudy {

// Blocks all signals of this thread as long as it exists; errno stays as it is. Around the start of a thread,
// which inherits the mask, because signals belong to the program's loop; and around a fork, because no
// handler of ours may run in the child.
class SignalsBlocked final {
 public:
  SignalsBlocked() {
    sigset_t all{};
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() {
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace understudy

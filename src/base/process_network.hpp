#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <functional>

namespace understudy {

// The network that a process is in. A guest's QEMU that root starts has one of its own, in which there is a
// loopback and nothing else (qemu/spawn.cpp): nobody outside can connect to the ports that it forwards, nor
// listen there when it has ended. Where it has none, this is the network of the caller.
//
// Held by descriptor: it stays that network when the process has ended and its number is somebody else's.
// Entering another network takes CAP_SYS_ADMIN.
class ProcessNetwork {
 public:
  // The caller's own.
  ProcessNetwork() = default;
  // An error: there is no such process, or no descriptor left. The network of a process that we may not look
  // at is taken for ours: whoever may not look could not enter another, either.
  [[nodiscard]] static Result<ProcessNetwork> of(pid_t pid);

  [[nodiscard]] bool is_ours() const { return !other_; }
  // Runs `act` in that network; only this thread is there, and only for as long as that takes. What `act`
  // opens stays in that network. An error: it cannot be entered, and `act` did not run.
  [[nodiscard]] Result<void> within(const std::function<void()>& act) const;
  // A TCP socket of that family in it; its calls do not wait.
  [[nodiscard]] Result<UniqueFd> tcp_socket(int family) const;

 private:
  UniqueFd other_;  // none: it is ours
  UniqueFd ours_;   // the way back
};

// The loopback of this thread's network, which a new one does not have. Nothing but system calls: for a
// forked child, too. False: errno says why.
[[nodiscard]] bool raise_loopback();

}  // namespace understudy

#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <functional>

namespace understudy {

// The network that a process is in. A guest's QEMU has one of its own where the kernel allows that
// (base/own_network.hpp): nobody outside can connect to the ports that it forwards, nor listen there when it
// has ended. Where it has none, this is the network of the caller.
//
// Held by descriptor: it stays that network when the process has ended and its number is somebody else's.
// Root enters it with CAP_SYS_ADMIN. One that came with a user namespace is entered by the user who made
// that.
class ProcessNetwork {
 public:
  // The caller's own.
  ProcessNetwork() = default;
  // An error: there is no such process, or no descriptor left. The network of a process that we may not look
  // at is taken for ours: whoever may not look could not enter another, either.
  [[nodiscard]] static Result<ProcessNetwork> of(pid_t pid);

  [[nodiscard]] bool is_ours() const { return !other_; }
  // A TCP socket of that family in it; its calls do not wait.
  [[nodiscard]] Result<UniqueFd> tcp_socket(int family) const;
  // Opened to be read by whoever is in that network: below "/proc/thread-self/net", it shows that network.
  [[nodiscard]] Result<UniqueFd> open(const char* path) const;

 private:
  // What `make` makes in there: a descriptor, or -1 with errno. Nothing but system calls.
  [[nodiscard]] Result<UniqueFd> make_within(const std::function<int()>& make) const;

  UniqueFd other_;  // none: it is ours
  UniqueFd ours_;   // the way back
  UniqueFd users_;  // the user namespace that it belongs to; none: ours
};

}  // namespace understudy

#pragma once

#include "base/error.hpp"

#include <sys/types.h>

#include <optional>
#include <string>

// Control groups of the kernel's second kind (cgroup v2), each named by its directory. The first kind is not
// used.
namespace understudy {

// A fork whose child is in the cgroup of this directory (a descriptor) from its first instruction on, where
// the kernel can do that (Linux 5.7; born_inside); else a plain fork, and the child has to join by itself.
// -1: no cgroup. namespaces: CLONE_NEW..., which the child is the first in.
[[nodiscard]] pid_t fork_into_cgroup(int directory, bool& born_inside, unsigned long namespaces = 0);

// The cgroup of a process. None: the process is gone, or there is no hierarchy of the second kind here that
// it can be seen in.
[[nodiscard]] std::optional<std::string> cgroup_of(pid_t process);

// The cgroup that this process may divide as it likes, because whoever manages the host's cgroups left it
// to it (systemd: Delegate=yes, which is told by an extended attribute of the directory), and which has the
// kernel's controllers of memory and of processes. It is the process's own, or, when somebody has put it into
// a part of that already, the nearest one above. An error is the reason why there is none.
[[nodiscard]] Result<std::string> delegated_cgroup();
// The same for a process that is in `own`.
[[nodiscard]] Result<std::string> delegated_cgroup_above(const std::string& own);

// Makes cgroups below a delegated one possible, each with a limit of memory and of processes: the kernel has
// that only where no process is in the delegated one itself. Those that are (this one, the command that
// started it) go into the cgroup "understudy" below it, which stays as long as the delegated one. Done
// already: done again without harm.
[[nodiscard]] Result<void> divide_cgroup(const std::string& delegated);

// For a person, in one sentence without an end: what QEMUs have, where that is the answer.
[[nodiscard]] std::string cgroup_words(const Result<std::string>& delegated);

}  // namespace understudy

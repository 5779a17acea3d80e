#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <string>
#include <vector>

// Where a rehearsal of an application runs: a network of its own with nothing but its loopback, so that it
// neither reaches anybody nor is reached nor takes a port; every file system read-only, so that it cannot
// touch the application's data; empty directories in the memory of its cgroup in place of /tmp, /var/tmp,
// /dev/shm and those that the configuration names. Its keeper is the one that is isolated: all of it ends
// with that.
namespace understudy::agent {

// In a forked child that still has its privileges. The step that failed (errno says why); empty: done.
[[nodiscard]] std::string isolate(const std::vector<std::string>& scratch);
// In a forked child: goes where that process is, with its network, IPC and mounts. As above.
[[nodiscard]] std::string join_namespaces(pid_t of);
// In the agent itself: a socket in the network of that process.
[[nodiscard]] Result<UniqueFd> socket_inside(pid_t of, int family, int type);

}  // namespace understudy::agent

#pragma once

#include "agent/container.hpp"
#include "base/error.hpp"

#include <sys/types.h>

#include <string>

// The processes of an application have a PID namespace of their own: they see and signal each other and
// nobody else, whoever they run as. Process 1 in there is its keeper (keeper.hpp), whose end is the end of
// all of them. The agent sees them under other numbers, and its children in there are its children like any
// others.
namespace understudy::agent {

// Tries it out, in a child that ends at once: why not.
[[nodiscard]] Result<void> try_own_processes();
// In a forked child that is process 1 of its namespace and has mounts of its own: /proc shows what is in
// there. The step that failed (errno says why); empty: done.
[[nodiscard]] std::string see_own_processes();
// As fork_into, without a container fork; the child is in that PID namespace (-1: in the agent's).
[[nodiscard]] pid_t fork_among(int pid_namespace, const Container* container, bool& born_inside);

}  // namespace understudy::agent

#pragma once

#include "agent/container.hpp"
#include "agent/users.hpp"
#include "base/unique_fd.hpp"

#include <string>
#include <vector>

namespace understudy::agent {

struct SpawnRequest {
  std::vector<std::string> argv;         // [0] is the program's path
  std::vector<std::string> environment;  // "NAME=VALUE"
  User user;
  int nice = 0;
  Container* container = nullptr;
  bool isolated = false;                  // see isolation.hpp
  std::vector<std::string> scratch = {};  // of an isolated program
  pid_t inside = -1;                      // where this isolated process is; -1: where the agent is
};

struct Spawned {
  pid_t pid = -1;
  UniqueFd output;  // what it writes to standard output and error; non-blocking
  // End of file once the program is being executed; before that, at most one text: why it could not be.
  // Non-blocking.
  UniqueFd exec_error;
};

// In a session of its own, with the container joined, the privileges of the user, default signals, ordinary
// scheduling and out-of-memory score.
[[nodiscard]] Result<Spawned> spawn(const SpawnRequest& request);

}  // namespace understudy::agent

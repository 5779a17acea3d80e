#pragma once

#include "agent/container.hpp"
#include "agent/own_files.hpp"
#include "agent/users.hpp"
#include "base/unique_fd.hpp"

#include <cstdint>
#include <optional>
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
  // Made for it alone; or, where it goes inside, the size that they are to have.
  std::optional<OwnFiles> own_files = {};
  // One user may have so many, where the container has no limit of its own; 0: as the agent.
  std::uint64_t processes = 0;
  bool own_domain = false;  // see own_domain.hpp
  // It goes where this process is, which has file systems of its own, or is isolated; -1: where the agent is.
  pid_t inside = -1;
  int inside_ready = -1;        // end of file once there is an inside, else a text: why there is none
  bool inside_network = false;  // and that one has a network of its own
};

struct Spawned {
  pid_t pid = -1;
  UniqueFd output;  // what it writes to standard output and error; non-blocking
  // End of file once the program is being executed; before that, at most one text: why it could not be.
  // Non-blocking.
  UniqueFd exec_error;
};

// Why the program could not be executed; empty: it was, or nobody knows yet.
[[nodiscard]] std::string read_exec_error(int exec_error);
// "/bin/sh -c 'exec redis-server'", shortened where it is long: for messages.
[[nodiscard]] std::string command_text(const std::vector<std::string>& argv);

// In a session of its own, with the container joined, the privileges of the user, default signals, ordinary
// limits, scheduling and out-of-memory score, and nothing else that whoever started the agent has left to it.
[[nodiscard]] Result<Spawned> spawn(const SpawnRequest& request);

}  // namespace understudy::agent

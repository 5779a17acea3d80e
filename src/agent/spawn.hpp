#pragma once

#include "agent/container.hpp"
#include "agent/keeper.hpp"
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
  // One user may have so many, where the container has no limit of its own; 0: as the agent.
  std::uint64_t processes = 0;
  bool own_domain = false;         // see own_domain.hpp
  const Keeper* keeper = nullptr;  // it goes where this is; null: where the agent is
  bool isolated = false;           // which is a rehearsal's
  // The files there are to have this size from now on; and it sees no cgroups but its own.
  std::optional<OwnFiles> own_files = {};
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

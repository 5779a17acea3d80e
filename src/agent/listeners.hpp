#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace understudy::agent {

enum class Listens { nowhere, on_loopback_only, for_others };

// Where somebody listens at this TCP port, from the texts of /proc/net/tcp and /proc/net/tcp6.
[[nodiscard]] Listens listens(std::uint16_t port, std::string_view tcp, std::string_view tcp6);
// A process that listens at this TCP port in the agent's network, so that nobody else can listen there for
// everybody. A free port costs one attempt to have it; only for another one all processes are looked at.
[[nodiscard]] std::optional<pid_t> who_listens(std::uint16_t port);

}  // namespace understudy::agent

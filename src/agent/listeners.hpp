#pragma once

#include <cstdint>
#include <string_view>

namespace understudy::agent {

enum class Listens { nowhere, on_loopback_only, for_others };

// Where somebody listens at this TCP port, from the texts of /proc/net/tcp and /proc/net/tcp6.
[[nodiscard]] Listens listens(std::uint16_t port, std::string_view tcp, std::string_view tcp6);

}  // namespace understudy::agent

#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace understudy::config {

struct ListenAddress {
  std::string host;  // numeric, without brackets
  std::uint16_t port = 0;
};

// "127.0.0.1:6379", "[::1]:6379". Names are refused: what they stand for may change under a running
// application.
[[nodiscard]] Result<ListenAddress> parse_listen_address(std::string_view text);

// Whether both cannot be listened on at once: the same port, and the same host or one that stands for every
// host.
[[nodiscard]] bool clash(const ListenAddress& one, const ListenAddress& other);

}  // namespace understudy::config

#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

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

// A socket that is bound as the gateway binds it, IPv6 for itself alone; the error is an errno. The one way
// to find out whether an address can be had, for whoever checks and for whoever listens.
[[nodiscard]] tl::expected<UniqueFd, int> bound_socket(const ListenAddress& address);

// Whether both cannot be listened on at once: the same port, and the same host, or one that stands for every
// host of the same family.
[[nodiscard]] bool clash(const ListenAddress& one, const ListenAddress& other);

}  // namespace understudy::config

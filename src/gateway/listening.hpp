#pragma once

#include "base/process_network.hpp"

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

// Whose a port of the loopback is. Where a guest's QEMU is in the host's network, its forwarded port is its
// own only as long as it lives: afterwards anybody on this host can listen there and answer in the
// application's name. So each connection to it is followed by a look at who listens, before a client's first
// byte goes there.
namespace understudy::gateway {

// The user of the socket that listens at this port of 127.0.0.1 in that network; none: nobody's does, or it
// cannot be entered.
[[nodiscard]] std::optional<uid_t> who_listens(const ProcessNetwork& network, std::uint16_t port);

// The same, of the text of /proc/net/tcp, in which listening sockets come first.
[[nodiscard]] std::optional<uid_t> who_listens(std::uint16_t port, std::string_view table);

}  // namespace understudy::gateway

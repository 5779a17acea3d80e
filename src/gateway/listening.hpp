#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

// Whose a port of the loopback is. A guest's forwarded port is its QEMU's only as long as that lives:
// afterwards anybody on this host can listen there and answer in the application's name. So each connection
// to it is followed by a look at who listens, before a client's first byte goes there.
namespace understudy::gateway {

// The user of the socket that listens at this port of 127.0.0.1; none: nobody's does.
[[nodiscard]] std::optional<uid_t> who_listens(std::uint16_t port);

// The same, of the text of /proc/net/tcp, in which listening sockets come first.
[[nodiscard]] std::optional<uid_t> who_listens(std::uint16_t port, std::string_view table);

}  // namespace understudy::gateway

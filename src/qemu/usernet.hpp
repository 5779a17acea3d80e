#pragma once

#include <cstdint>
#include <map>
#include <string_view>

namespace understudy::qemu {

// Host ports, all on 127.0.0.1, by the guest port that they lead to.
using ForwardedPorts = std::map<std::uint16_t, std::uint16_t>;

// Reads the answer to HMP's `info usernet`. Connections that exist at that moment are left out. Lines that it
// does not understand are skipped: a port that is missing shows when it is asked for.
[[nodiscard]] ForwardedPorts parse_usernet(std::string_view text);

}  // namespace understudy::qemu

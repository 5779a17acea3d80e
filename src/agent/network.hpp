#pragma once

#include "base/error.hpp"

namespace understudy::agent {

[[nodiscard]] Result<void> bring_up_loopback();
// eth0 with the address that every guest has on its own user-mode network: 10.0.2.15/24, gateway 10.0.2.2.
// The host reaches it through QEMU's forwards, so guests may share it.
[[nodiscard]] Result<void> bring_up_ethernet();

}  // namespace understudy::agent

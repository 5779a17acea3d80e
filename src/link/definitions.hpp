#pragma once

#include "config/config.hpp"
#include "core/ids.hpp"
#include "protocol/messages.hpp"

namespace understudy::link {

// Whether the application (or the twin of one) may run in the guest; false for numbers that do not exist.
[[nodiscard]] bool listed(const config::Config& config, core::GuestId guest, std::uint32_t app);

// What a guest is told of the applications that list it, and of itself.
[[nodiscard]] protocol::to_agent::Welcome welcome_for(const config::Config& config, core::GuestRun run);

}  // namespace understudy::link

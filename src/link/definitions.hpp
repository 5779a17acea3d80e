#pragma once

#include "config/config.hpp"
#include "core/ids.hpp"
#include "protocol/messages.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace understudy::link {

// Whether the application (or the twin of one) may run in the guest; false for numbers that do not exist.
[[nodiscard]] bool listed(const config::Config& config, core::GuestId guest, std::uint32_t app);

// What a run was started with by a daemon that had another configuration, as far as its agent's line depends
// on it.
struct Started {
  Bytes base_bytes = 0;
  std::string told;  // the welcome that it was started with, as a line; empty: not known
  std::map<std::string, std::uint16_t> app_ports;  // the port of each application's address, by its name
};

// What a daemon has to know of one run to speak with its agent.
struct RunView {
  protocol::to_agent::Welcome welcome;
  Bytes base_bytes = 0;
  // Whether the agent may speak of this application (or the twin of one).
  [[nodiscard]] bool knows(std::uint32_t app) const;
};

// Of a run that is launched with this configuration.
[[nodiscard]] RunView view_of(const config::Config& config, core::GuestRun run);
// Of one that was started with another. An application whose address has another port by now goes on being
// started there as it was: the run forwards no other port. An application that lists the guest no more is
// still told of, because it may run there, and an agent ends what it is not told of.
[[nodiscard]] RunView view_of(const config::Config& config, core::GuestRun run, const Started& started);

// What a guest is told of the applications that list it, and of itself.
[[nodiscard]] std::string told_line(const config::Config& config, core::GuestId guest);  // for Started
[[nodiscard]] protocol::to_agent::Welcome welcome_for(const config::Config& config, core::GuestRun run);

}  // namespace understudy::link

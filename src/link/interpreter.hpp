#pragma once

#include "base/units.hpp"
#include "config/config.hpp"
#include "core/events.hpp"
#include "link/definitions.hpp"
#include "link/requests.hpp"
#include "protocol/messages.hpp"

#include <map>
#include <string>
#include <variant>

namespace understudy::link {

// An agent's reckoning of what it needs adds a margin to what it was asked for; nothing of ours adds more
// than this.
inline constexpr Bytes kMostMarginBytes = 256_MiB;

// Something that no agent of ours says.
struct Misdeed {
  std::string what;
};

// What a message comes to: nothing (a late or repeated answer, or one that is of no interest to the core),
// one event, or a misdeed (and then nothing else happens).
using Meaning = std::variant<std::monostate, core::Event, Misdeed>;

// Turns one guest run's messages into events, once they have been held against what this guest may speak of
// and what it was asked. Decides; does nothing.
class Interpreter {
 public:
  // The configuration must outlive it.
  Interpreter(const config::Config& config, core::GuestRun run);
  Interpreter(const config::Config& config, core::GuestRun run, RunView view);

  // Answers are taken out of the requests.
  [[nodiscard]] Meaning interpret(const protocol::FromAgent& message, Requests& requests);

 private:
  // One for each kind of message; they are called only for applications that it was told of.
  [[nodiscard]] Meaning on(const protocol::from_agent::Hello& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Beat& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Need& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Engaged& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::EngageFailed& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Serving& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::StartFailed& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Restarting& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::WantsMemory& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Faulted& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Stopped& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::StopFailed& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Released& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Prepared& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::State& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Tail& message, Requests& requests);
  [[nodiscard]] Meaning on(const protocol::from_agent::Log& message, Requests& requests);

  // Empty: the figures can be true.
  [[nodiscard]] std::string doubt(std::uint64_t total_bytes, std::uint64_t available_bytes) const;
  [[nodiscard]] std::string doubt(const std::vector<protocol::AreaNumber>& areas) const;
  [[nodiscard]] const std::string& name(protocol::AppNumber app) const;

  const config::Config& config_;
  core::GuestRun run_;
  RunView view_;
  std::uint32_t area_count_;
  // Why applications were given up here: the answer to a query says only that they were.
  std::map<protocol::AppNumber, std::pair<protocol::Epoch, std::string>> causes_;
};

}  // namespace understudy::link

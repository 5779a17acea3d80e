#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "core/events.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

// The public interface: everything that can be asked of a running daemon. The command line and whatever comes
// later (an HTTP API, a page) speak this one set; the server matches it without a catch-all.
namespace understudy::control {

namespace command {
struct Status {};
struct Table {};
struct Report {
  std::string app;  // empty: the last takeover of any
};
struct Events {
  bool follow = false;
};
struct Takeover {  // planned switchover
  std::string app;
  std::string to;      // empty: the best standby
  bool fence = false;  // its guest may be ended for it, although others serve there
};
struct Fault {         // a drill: really causes it
  std::string target;  // a guest, or an application (then it strikes the guest where it runs)
  core::FaultKind kind{};
};
struct Start {  // an application that was given up or stopped
  std::string app;
};
struct Stop {  // an application, until it is started again
  std::string app;
};
// The last lines of an application's output, from every guest that may run it. Guests are asked and not
// waited for: the answer to number 0 names the question; asking again with that number tells what has come
// since.
struct Logs {
  std::string app;
  std::uint64_t number = 0;
};
struct Maintenance {   // hands off for a while
  std::string target;  // a guest or an application
  Duration lasts{};    // 0: it is over; else within the limits below
};
struct Rehearse {  // attach spare memory to the standby and take it back, for a proof
  std::string app;
  bool start = false;  // and start the application there, in isolation
};
struct Down {};
}  // namespace command

using Command = std::variant<command::Status, command::Table, command::Report, command::Events,
                             command::Takeover, command::Fault, command::Start, command::Stop, command::Logs,
                             command::Maintenance, command::Rehearse, command::Down>;

// A longer request is refused before it is read to its end.
inline constexpr std::size_t kLongestRequestBytes = 4096;

// A forgotten maintenance is an application without a standby: it never lasts longer than a day.
inline constexpr Duration kShortestMaintenance = std::chrono::seconds(1);
inline constexpr Duration kLongestMaintenance = std::chrono::hours(24);
inline constexpr Duration kUsualMaintenance = std::chrono::hours(1);
// "30m", "90 s", "2 h": as parse_duration, and "m" for minutes. Refuses what is not within the limits.
[[nodiscard]] Result<Duration> parse_maintenance(std::string_view text);

[[nodiscard]] const char* fault_name(core::FaultKind kind);
[[nodiscard]] std::optional<core::FaultKind> fault_of(std::string_view name);

// One line of JSON, without the newline: {"command":"fault","target":"alpha","kind":"os-panic"}.
[[nodiscard]] std::string encode(const Command& command);
[[nodiscard]] Result<Command> decode(std::string_view line);

}  // namespace understudy::control

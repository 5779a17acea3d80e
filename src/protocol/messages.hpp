#pragma once

#include "protocol/limits.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// The messages, as values. docs/agent-protocol.md says when each is sent and what must follow; fields.hpp
// says how each is written. Every request about an application carries its epoch, every answer repeats it.
namespace understudy::protocol {

using AppNumber = std::uint32_t;   // the application's index in the daemon's configuration
using AreaNumber = std::uint32_t;  // the area's index in the pool
using Epoch = std::uint64_t;

enum class Ready { notify, health };
enum class HealthKind { process, tcp, exec };
enum class FirstResort { restart, takeover };
enum class DrillKind { os_panic, app_exit, app_crash, app_hang, silence };
enum class FaultLevel { recoverable, unrecoverable };
enum class Phase {
  idle,            // nothing of it runs and nothing is asked
  starting,        // runs, is not ready yet
  serving,         // ready, and healthy as far as is known
  restarting,      // failed; waits to be restarted in place, or is being restarted
  wanting_memory,  // ended for lack of memory; waits for the daemon's answer
  ending,          // failed; its last processes are being killed
  stopping,        // asked to stop
  faulted,         // given up; nothing of it runs
};

struct Health {
  HealthKind kind = HealthKind::process;
  std::uint16_t port = 0;            // tcp
  std::vector<std::string> command;  // exec
  std::uint64_t interval_ms = 1000;
  std::uint64_t limit_ms = 1000;  // of one check
  std::uint32_t failures = 3;     // in a row
  bool operator==(const Health&) const = default;
};

struct Restart {
  std::uint32_t attempts = 3;  // in place, within the window
  std::uint64_t window_ms = 60'000;
  std::uint64_t delay_ms = 100;  // doubles with every attempt in the window
  std::uint64_t maximum_delay_ms = 5000;
  FirstResort first = FirstResort::restart;
  bool operator==(const Restart&) const = default;
};

struct Variable {
  std::string name;
  std::string value;
  bool operator==(const Variable&) const = default;
};

struct Application {
  AppNumber app = 0;
  std::string name;
  std::vector<std::string> start;  // argv; [0] is an absolute path inside the guest
  std::vector<std::string> prepare;
  std::vector<Variable> environment;
  std::string user;
  Ready ready = Ready::health;
  Health health;
  Restart restart;
  std::uint64_t start_limit_ms = 30'000;
  std::uint64_t stop_limit_ms = 10'000;
  bool hot_standby = false;
  AppNumber rehearsal = 0;           // the number of its twin, which is started in isolation; 0: it has none
  std::vector<std::string> scratch;  // directories that the twin gets empty ones in place of
  std::uint16_t port = 0;  // where its clients' connections arrive in the guest; 0: it has no address
  bool isolated = false;   // the agent's own mark of a twin; in no message
  bool operator==(const Application&) const = default;
};

struct Area {
  AreaNumber id = 0;
  std::uint64_t address = 0;  // in the guest's physical address space
  std::uint64_t bytes = 0;
  bool operator==(const Area&) const = default;
};

}  // namespace understudy::protocol

// ---- from the daemon ----
namespace understudy::protocol::to_agent {

struct Greet {  // the first thing on a new connection: say hello (again)
  bool operator==(const Greet&) const = default;
};
struct Welcome {
  std::uint32_t version = kVersion;
  std::string guest;
  std::uint32_t run = 0;
  std::uint64_t beat_interval_ms = 50;
  std::vector<Application> applications;
  bool operator==(const Welcome&) const = default;
};
struct Refuse {  // instead of welcome: the versions differ
  std::uint32_t version = kVersion;
  std::string why;
  bool operator==(const Refuse&) const = default;
};
struct Need {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::uint64_t memory_bytes = 0;  // what the application should be able to use
  bool operator==(const Need&) const = default;
};
struct Engage {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::vector<Area> areas;
  bool operator==(const Engage&) const = default;
};
struct Start {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::uint64_t memory_limit_bytes = 0;  // 0: none
  std::vector<AreaNumber> areas;
  bool operator==(const Start&) const = default;
};
struct Stop {
  AppNumber app = 0;
  Epoch epoch = 0;
  bool operator==(const Stop&) const = default;
};
struct Release {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::vector<Area> areas;
  std::uint64_t limit_ms = 3000;
  bool operator==(const Release&) const = default;
};
struct Prepare {
  AppNumber app = 0;
  bool operator==(const Prepare&) const = default;
};
struct Drill {  // really causes the fault
  DrillKind kind = DrillKind::app_exit;
  AppNumber app = 0;              // app_exit, app_crash, app_hang
  std::uint64_t duration_ms = 0;  // silence
  bool operator==(const Drill&) const = default;
};
struct GrowDone {  // answers to wants_memory
  AppNumber app = 0;
  Epoch epoch = 0;
  std::uint64_t memory_limit_bytes = 0;
  std::vector<AreaNumber> areas;  // added to those that it has
  bool operator==(const GrowDone&) const = default;
};
struct GrowRefused {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::string why;
  bool operator==(const GrowRefused&) const = default;
};
struct Tail {  // the last lines of an application's output, whether it runs or not; answered by tail
  AppNumber app = 0;
  std::uint64_t bytes = kMaxTailBytes;
  bool operator==(const Tail&) const = default;
};
struct Query {  // answered by state
  bool operator==(const Query&) const = default;
};

}  // namespace understudy::protocol::to_agent

// ---- from the agent ----
namespace understudy::protocol::from_agent {

struct Hello {
  std::uint32_t version = kVersion;
  std::string boot_id;
  std::uint64_t session = 0;  // drawn once per life of the agent: a repeated hello is told from a new agent
  std::uint64_t mem_total_bytes = 0;
  std::uint64_t mem_available_bytes = 0;
  std::uint64_t block_bytes = 0;  // of memory that goes online and offline as one; 0: no memory hot-plug
  bool operator==(const Hello&) const = default;
};
struct Beat {
  std::uint64_t sequence = 0;
  std::uint64_t mem_total_bytes = 0;
  std::uint64_t mem_available_bytes = 0;
  bool operator==(const Beat&) const = default;
};
struct Need {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::uint64_t required_bytes = 0;
  std::uint64_t available_bytes = 0;  // after what the OS keeps for itself
  std::uint64_t missing_bytes = 0;    // to be plugged, their memmap included
  bool operator==(const Need&) const = default;
};
struct Engaged {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::vector<AreaNumber> areas;
  std::uint64_t mem_total_bytes = 0;
  std::uint64_t mem_available_bytes = 0;
  bool operator==(const Engaged&) const = default;
};
struct EngageFailed {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::string why;
  bool operator==(const EngageFailed&) const = default;
};
struct Serving {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::vector<AreaNumber> areas;     // that it uses
  std::uint64_t base_use_bytes = 0;  // what it uses of the guest's base memory
  std::uint32_t pid = 0;             // of its main process, in the guest
  bool operator==(const Serving&) const = default;
};
struct StartFailed {  // nothing of it runs
  AppNumber app = 0;
  Epoch epoch = 0;
  std::string why;
  std::string evidence;
  bool configuration = false;  // nothing but another configuration helps: it fails like this in every guest
  bool operator==(const StartFailed&) const = default;
};
struct Restarting {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::string cause;
  std::uint32_t attempt = 0;
  std::uint64_t delay_ms = 0;
  bool ending = false;  // it was killed and has not ended yet; what is done about it follows when it has
  bool operator==(const Restarting&) const = default;
};
struct WantsMemory {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::uint64_t more_bytes = 0;
  bool operator==(const WantsMemory&) const = default;
};
struct Faulted {  // given up; nothing of it runs
  AppNumber app = 0;
  Epoch epoch = 0;
  std::string cause;
  std::string evidence;
  FaultLevel level = FaultLevel::unrecoverable;  // of the last fault: recoverable, but the limit is used up
  bool configuration = false;                    // as of StartFailed
  bool operator==(const Faulted&) const = default;
};
struct Stopped {  // no process of it is left
  AppNumber app = 0;
  Epoch epoch = 0;
  bool operator==(const Stopped&) const = default;
};
struct StopFailed {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::string why;
  bool operator==(const StopFailed&) const = default;
};
struct Released {
  AppNumber app = 0;
  Epoch epoch = 0;
  std::vector<AreaNumber> areas;  // fully offline
  std::string why_not_all;        // empty: all of them
  bool operator==(const Released&) const = default;
};
struct Prepared {
  AppNumber app = 0;
  std::uint64_t duration_ms = 0;
  std::string why_not;  // empty: it went well
  bool operator==(const Prepared&) const = default;
};
struct AppState {
  AppNumber app = 0;
  Epoch epoch = 0;
  Phase phase = Phase::idle;
  bool operator==(const AppState&) const = default;
};
struct State {
  std::vector<AppState> apps;
  bool operator==(const State&) const = default;
};
struct Tail {
  AppNumber app = 0;
  std::string text;  // whole lines, the latest last; empty: it has said nothing
  bool operator==(const Tail&) const = default;
};
struct Log {
  std::string text;
  bool operator==(const Log&) const = default;
};

}  // namespace understudy::protocol::from_agent

namespace understudy::protocol {

using ToAgent =
    std::variant<to_agent::Greet, to_agent::Welcome, to_agent::Refuse, to_agent::Need, to_agent::Engage,
                 to_agent::Start, to_agent::Stop, to_agent::Release, to_agent::Prepare, to_agent::Drill,
                 to_agent::GrowDone, to_agent::GrowRefused, to_agent::Tail, to_agent::Query>;

using FromAgent = std::variant<from_agent::Hello, from_agent::Beat, from_agent::Need, from_agent::Engaged,
                               from_agent::EngageFailed, from_agent::Serving, from_agent::StartFailed,
                               from_agent::Restarting, from_agent::WantsMemory, from_agent::Faulted,
                               from_agent::Stopped, from_agent::StopFailed, from_agent::Released,
                               from_agent::Prepared, from_agent::State, from_agent::Tail, from_agent::Log>;

// "serving", "wanting_memory", ...
[[nodiscard]] std::string_view phase_name(Phase phase);

}  // namespace understudy::protocol

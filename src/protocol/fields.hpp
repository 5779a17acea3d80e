#pragma once

#include "protocol/messages.hpp"

#include <array>
#include <concepts>
#include <string_view>
#include <type_traits>

// Every message's type word and fields, stated once for both directions: the encoder walks a const message,
// the decoder a mutable one (codec.cpp). `Io` offers
//   number(name, value, most, least = 0)   flag(name, value)        choice(name, value, words)
//   text(name, value, most_bytes)     free text, cleaned; its front, in one line
//   tail(name, value, most_bytes)     free text, cleaned; its end, with its lines
//   exact(name, value, most_bytes)    exacts(name, list, most_items, most_bytes)
//   numbers(name, list, most_items, most)   object(name, value)   list(name, values, most_items)
namespace understudy::protocol {

template <class T, class Message>
concept Is = std::same_as<std::remove_const_t<T>, Message>;

inline constexpr std::array<std::string_view, 2> kReadyWords{"notify", "health"};
inline constexpr std::array<std::string_view, 3> kHealthWords{"process", "tcp", "exec"};
inline constexpr std::array<std::string_view, 2> kFirstResortWords{"restart", "takeover"};
inline constexpr std::array<std::string_view, 5> kDrillWords{"os_panic", "app_exit", "app_crash", "app_hang",
                                                             "silence"};
inline constexpr std::array<std::string_view, 2> kFaultLevelWords{"recoverable", "unrecoverable"};
inline constexpr std::array<std::string_view, 8> kPhaseWords{
    "idle", "starting", "serving", "restarting", "wanting_memory", "ending", "stopping", "faulted"};

template <class Message>
inline constexpr std::string_view kType = "";

#define US_MESSAGE_TYPE(message, word) \
  template <>                          \
  inline constexpr std::string_view kType<message> = word

US_MESSAGE_TYPE(to_agent::Greet, "greet");
US_MESSAGE_TYPE(to_agent::Welcome, "welcome");
US_MESSAGE_TYPE(to_agent::Refuse, "refuse");
US_MESSAGE_TYPE(to_agent::Need, "need");
US_MESSAGE_TYPE(to_agent::Engage, "engage");
US_MESSAGE_TYPE(to_agent::Start, "start");
US_MESSAGE_TYPE(to_agent::Stop, "stop");
US_MESSAGE_TYPE(to_agent::Release, "release");
US_MESSAGE_TYPE(to_agent::Prepare, "prepare");
US_MESSAGE_TYPE(to_agent::Drill, "drill");
US_MESSAGE_TYPE(to_agent::GrowDone, "grow_done");
US_MESSAGE_TYPE(to_agent::GrowRefused, "grow_refused");
US_MESSAGE_TYPE(to_agent::Tail, "tail");
US_MESSAGE_TYPE(to_agent::Query, "query");

US_MESSAGE_TYPE(from_agent::Hello, "hello");
US_MESSAGE_TYPE(from_agent::Beat, "beat");
US_MESSAGE_TYPE(from_agent::Need, "need");
US_MESSAGE_TYPE(from_agent::Engaged, "engaged");
US_MESSAGE_TYPE(from_agent::EngageFailed, "engage_failed");
US_MESSAGE_TYPE(from_agent::Serving, "serving");
US_MESSAGE_TYPE(from_agent::StartFailed, "start_failed");
US_MESSAGE_TYPE(from_agent::Restarting, "restarting");
US_MESSAGE_TYPE(from_agent::WantsMemory, "wants_memory");
US_MESSAGE_TYPE(from_agent::Faulted, "faulted");
US_MESSAGE_TYPE(from_agent::Stopped, "stopped");
US_MESSAGE_TYPE(from_agent::StopFailed, "stop_failed");
US_MESSAGE_TYPE(from_agent::Released, "released");
US_MESSAGE_TYPE(from_agent::Prepared, "prepared");
US_MESSAGE_TYPE(from_agent::State, "state");
US_MESSAGE_TYPE(from_agent::Tail, "tail");
US_MESSAGE_TYPE(from_agent::Log, "log");

#undef US_MESSAGE_TYPE

// ---- parts ----
template <class Io, Is<Health> M>
void fields(Io& io, M& m) {
  io.choice("kind", m.kind, kHealthWords);
  io.number("port", m.port, 65535);
  io.exacts("command", m.command, kMaxArguments, kMaxArgumentBytes);
  io.number("interval_ms", m.interval_ms, kMaxDurationMs, 1);
  io.number("limit_ms", m.limit_ms, kMaxDurationMs, 1);
  io.number("failures", m.failures, kMaxNumber, 1);
}
template <class Io, Is<Restart> M>
void fields(Io& io, M& m) {
  io.number("attempts", m.attempts, kMaxNumber);
  io.number("window_ms", m.window_ms, kMaxDurationMs);
  io.number("delay_ms", m.delay_ms, kMaxDurationMs);
  io.number("maximum_delay_ms", m.maximum_delay_ms, kMaxDurationMs);
  io.choice("first", m.first, kFirstResortWords);
}
template <class Io, Is<Variable> M>
void fields(Io& io, M& m) {
  io.exact("name", m.name, kMaxArgumentBytes);
  io.exact("value", m.value, kMaxArgumentBytes);
}
template <class Io, Is<Application> M>
void fields(Io& io, M& m) {
  io.number("app", m.app, kMaxNumber);
  io.exact("name", m.name, kMaxNameBytes);
  io.exacts("start", m.start, kMaxArguments, kMaxArgumentBytes);
  io.exacts("prepare", m.prepare, kMaxArguments, kMaxArgumentBytes);
  io.list("environment", m.environment, kMaxEnvironment);
  io.exact("user", m.user, kMaxNameBytes);
  io.choice("ready", m.ready, kReadyWords);
  io.object("health", m.health);
  io.object("restart", m.restart);
  io.number("start_limit_ms", m.start_limit_ms, kMaxDurationMs, 1);
  io.number("stop_limit_ms", m.stop_limit_ms, kMaxDurationMs);
  io.flag("hot_standby", m.hot_standby);
  io.number("rehearsal", m.rehearsal, kMaxNumber);
  io.exacts("scratch", m.scratch, kMaxScratch, kMaxArgumentBytes);
  io.number("port", m.port, 65535);
}
template <class Io, Is<Area> M>
void fields(Io& io, M& m) {
  io.number("id", m.id, kMaxNumber);
  io.number("address", m.address, kMaxBytes);
  io.number("bytes", m.bytes, kMaxBytes, 1);
}
template <class Io, Is<from_agent::AppState> M>
void fields(Io& io, M& m) {
  io.number("app", m.app, kMaxNumber);
  io.number("epoch", m.epoch, kMaxEpoch);
  io.choice("phase", m.phase, kPhaseWords);
}

template <class Io, class M>
void app_and_epoch(Io& io, M& m) {
  io.number("app", m.app, kMaxNumber);
  io.number("epoch", m.epoch, kMaxEpoch);
}

// ---- from the daemon ----
template <class Io, Is<to_agent::Greet> M>
void fields(Io&, M&) {}
template <class Io, Is<to_agent::Welcome> M>
void fields(Io& io, M& m) {
  io.number("version", m.version, kMaxNumber);
  io.exact("guest", m.guest, kMaxNameBytes);
  io.number("run", m.run, kMaxNumber);
  io.number("beat_interval_ms", m.beat_interval_ms, kMaxDurationMs, 1);
  io.list("applications", m.applications, kMaxApplications);
}
template <class Io, Is<to_agent::Refuse> M>
void fields(Io& io, M& m) {
  io.number("version", m.version, kMaxNumber);
  io.text("why", m.why, kMaxWhyBytes);
}
template <class Io, Is<to_agent::Need> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.number("memory_bytes", m.memory_bytes, kMaxBytes);
}
template <class Io, Is<to_agent::Engage> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.list("areas", m.areas, kMaxAreas);
}
template <class Io, Is<to_agent::Start> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.number("memory_limit_bytes", m.memory_limit_bytes, kMaxBytes);
  io.numbers("areas", m.areas, kMaxAreas, kMaxNumber);
}
template <class Io, Is<to_agent::Stop> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
}
template <class Io, Is<to_agent::Release> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.list("areas", m.areas, kMaxAreas);
  io.number("limit_ms", m.limit_ms, kMaxDurationMs, 1);
}
template <class Io, Is<to_agent::Prepare> M>
void fields(Io& io, M& m) {
  io.number("app", m.app, kMaxNumber);
}
template <class Io, Is<to_agent::Drill> M>
void fields(Io& io, M& m) {
  io.choice("kind", m.kind, kDrillWords);
  io.number("app", m.app, kMaxNumber);
  io.number("duration_ms", m.duration_ms, kMaxDurationMs);
}
template <class Io, Is<to_agent::GrowDone> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.number("memory_limit_bytes", m.memory_limit_bytes, kMaxBytes);
  io.numbers("areas", m.areas, kMaxAreas, kMaxNumber);
}
template <class Io, Is<to_agent::GrowRefused> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.text("why", m.why, kMaxWhyBytes);
}
template <class Io, Is<to_agent::Tail> M>
void fields(Io& io, M& m) {
  io.number("app", m.app, kMaxNumber);
  io.number("bytes", m.bytes, kMaxTailBytes, 1);
}
template <class Io, Is<to_agent::Query> M>
void fields(Io&, M&) {}

// ---- from the agent ----
template <class Io, class M>
void memory(Io& io, M& m) {
  io.number("mem_total_bytes", m.mem_total_bytes, kMaxBytes);
  io.number("mem_available_bytes", m.mem_available_bytes, kMaxBytes);
}

template <class Io, Is<from_agent::Hello> M>
void fields(Io& io, M& m) {
  io.number("version", m.version, kMaxNumber);
  io.exact("boot_id", m.boot_id, kMaxNameBytes);
  io.number("session", m.session, kMaxEpoch);
  memory(io, m);
  io.number("block_bytes", m.block_bytes, kMaxBytes);
}
template <class Io, Is<from_agent::Beat> M>
void fields(Io& io, M& m) {
  io.number("sequence", m.sequence, kMaxEpoch);
  memory(io, m);
}
template <class Io, Is<from_agent::Need> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.number("required_bytes", m.required_bytes, kMaxBytes);
  io.number("available_bytes", m.available_bytes, kMaxBytes);
  io.number("missing_bytes", m.missing_bytes, kMaxBytes);
}
template <class Io, Is<from_agent::Engaged> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.numbers("areas", m.areas, kMaxAreas, kMaxNumber);
  memory(io, m);
}
template <class Io, Is<from_agent::EngageFailed> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.text("why", m.why, kMaxWhyBytes);
}
template <class Io, Is<from_agent::Serving> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.numbers("areas", m.areas, kMaxAreas, kMaxNumber);
  io.number("base_use_bytes", m.base_use_bytes, kMaxBytes);
  io.number("pid", m.pid, kMaxNumber);
}
template <class Io, Is<from_agent::StartFailed> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.text("why", m.why, kMaxWhyBytes);
  io.tail("evidence", m.evidence, kMaxEvidenceBytes);
  io.flag("configuration", m.configuration);
}
template <class Io, Is<from_agent::Restarting> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.text("cause", m.cause, kMaxWhyBytes);
  io.number("attempt", m.attempt, kMaxNumber);
  io.number("delay_ms", m.delay_ms, kMaxDurationMs);
  io.flag("ending", m.ending);
}
template <class Io, Is<from_agent::WantsMemory> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.number("more_bytes", m.more_bytes, kMaxBytes);
}
template <class Io, Is<from_agent::Faulted> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.text("cause", m.cause, kMaxWhyBytes);
  io.tail("evidence", m.evidence, kMaxEvidenceBytes);
  io.choice("level", m.level, kFaultLevelWords);
  io.flag("configuration", m.configuration);
}
template <class Io, Is<from_agent::Stopped> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
}
template <class Io, Is<from_agent::StopFailed> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.text("why", m.why, kMaxWhyBytes);
}
template <class Io, Is<from_agent::Released> M>
void fields(Io& io, M& m) {
  app_and_epoch(io, m);
  io.numbers("areas", m.areas, kMaxAreas, kMaxNumber);
  io.text("why_not_all", m.why_not_all, kMaxWhyBytes);
}
template <class Io, Is<from_agent::Prepared> M>
void fields(Io& io, M& m) {
  io.number("app", m.app, kMaxNumber);
  io.number("duration_ms", m.duration_ms, kMaxDurationMs);
  io.text("why_not", m.why_not, kMaxWhyBytes);
}
template <class Io, Is<from_agent::State> M>
void fields(Io& io, M& m) {
  io.list("apps", m.apps, kMaxStates);
}
template <class Io, Is<from_agent::Tail> M>
void fields(Io& io, M& m) {
  io.number("app", m.app, kMaxNumber);
  io.tail("text", m.text, kMaxTailBytes);
}
template <class Io, Is<from_agent::Log> M>
void fields(Io& io, M& m) {
  io.text("text", m.text, kMaxWhyBytes);
}

}  // namespace understudy::protocol

#include "link/interpreter.hpp"

#include "base/memory_rules.hpp"
#include "link/definitions.hpp"

#include <algorithm>
#include <set>

namespace understudy::link {

namespace {

namespace event = core::event;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

template <class Message>
constexpr bool kAboutAnApp = requires(const Message& message) {
  message.app;
};

event::MemoryReport memory(std::uint64_t total_bytes, std::uint64_t available_bytes) {
  return {total_bytes, available_bytes};
}

std::vector<core::AreaId> area_ids(const std::vector<protocol::AreaNumber>& areas) {
  std::vector<core::AreaId> ids;
  for (const auto area : areas) ids.push_back({area});
  return ids;
}

bool subset(const std::vector<protocol::AreaNumber>& areas, const std::set<protocol::AreaNumber>& of) {
  return std::all_of(areas.begin(), areas.end(), [&](auto area) { return of.contains(area); });
}

// Without what stands around the lines.
std::string trimmed(const std::string& evidence) {
  const std::size_t end = evidence.find_last_not_of(" \t\n");
  if (end == std::string::npos) return "";
  const std::size_t begin = evidence.find_first_not_of('\n');
  return evidence.substr(begin, end + 1 - begin);
}

}  // namespace

Interpreter::Interpreter(const config::Config& config, core::GuestRun run)
    : Interpreter(config, run, view_of(config, run)) {}

Interpreter::Interpreter(const config::Config& config, core::GuestRun run, RunView view)
    : config_(config), run_(run), view_(std::move(view)), area_count_(config.area_count()) {}

Meaning Interpreter::interpret(const protocol::FromAgent& message, Requests& requests) {
  return std::visit(
      [&](const auto& one) -> Meaning {
        if constexpr (kAboutAnApp<std::decay_t<decltype(one)>>) {
          if (!view_.knows(one.app)) {
            return Misdeed{"it speaks of application " + std::to_string(one.app) +
                           ", which is not configured for this guest"};
          }
        }
        return on(one, requests);
      },
      message);
}

const std::string& Interpreter::name(protocol::AppNumber app) const {
  return config_.applications.at(config_.application_of(app).value()).name;
}

std::string Interpreter::doubt(std::uint64_t total_bytes, std::uint64_t available_bytes) const {
  const Bytes most = view_.base_bytes + Bytes{area_count_} * config_.pool.area_bytes;
  if (available_bytes > total_bytes) return "more memory available than there is";
  if (total_bytes > most) return "more memory (" + format_size(total_bytes) + ") than it can have";
  return "";
}

std::string Interpreter::doubt(const std::vector<protocol::AreaNumber>& areas) const {
  std::set<protocol::AreaNumber> seen;
  for (const auto area : areas) {
    if (area >= area_count_)
      return "area " + std::to_string(area) + ", and there are " + std::to_string(area_count_);
    if (!seen.insert(area).second) return "area " + std::to_string(area) + " twice";
  }
  return "";
}

// ---- memory ----

Meaning Interpreter::on(const from::Hello& message, Requests&) {
  const std::string wrong = doubt(message.mem_total_bytes, message.mem_available_bytes);
  if (!wrong.empty()) return Misdeed{"hello with " + wrong};
  return event::AgentGreeted{run_, memory(message.mem_total_bytes, message.mem_available_bytes)};
}

Meaning Interpreter::on(const from::Beat& message, Requests&) {
  const std::string wrong = doubt(message.mem_total_bytes, message.mem_available_bytes);
  if (!wrong.empty()) return Misdeed{"a beat with " + wrong};
  return event::AgentBeat{run_, memory(message.mem_total_bytes, message.mem_available_bytes)};
}

Meaning Interpreter::on(const from::Need& message, Requests& requests) {
  const auto* asked = requests.find<to::Need>(message.app, message.epoch);
  if (asked == nullptr) return {};
  if (message.missing_bytes > 2 * (asked->memory_bytes + kMostMarginBytes)) {
    return Misdeed{"it needs " + format_size(message.missing_bytes) + " for " + name(message.app) +
                   ", which is to have " + format_size(asked->memory_bytes)};
  }
  requests.answered<to::Need>(message.app, message.epoch);
  return event::NeedStated{run_, {message.app}, message.epoch, message.missing_bytes};
}

Meaning Interpreter::on(const from::Engaged& message, Requests& requests) {
  std::string wrong = doubt(message.mem_total_bytes, message.mem_available_bytes);
  if (wrong.empty()) wrong = doubt(message.areas);
  if (!wrong.empty()) return Misdeed{"it confirms memory with " + wrong};
  const auto* asked = requests.find_engage(message.app, message.epoch, message.areas);
  if (asked == nullptr) {
    if (requests.find<to::Engage>(message.app, message.epoch) == nullptr) return {};
    return Misdeed{"it confirms other areas for " + name(message.app) + " than it was given"};
  }
  Bytes bytes = 0;
  for (const auto& area : asked->areas) bytes += area.bytes;
  if (message.mem_total_bytes < usable_bytes(bytes)) {
    return Misdeed{"it says that " + format_size(bytes) + " are online and that it has " +
                   format_size(message.mem_total_bytes) + " in all"};
  }
  requests.answered(*asked);
  return event::AreasEngaged{
      run_, {message.app}, message.epoch, memory(message.mem_total_bytes, message.mem_available_bytes)};
}

Meaning Interpreter::on(const from::EngageFailed& message, Requests& requests) {
  if (requests.find<to::Engage>(message.app, message.epoch) == nullptr) return {};
  requests.answered<to::Engage>(message.app, message.epoch);
  return event::EngageFailed{run_, {message.app}, message.epoch, message.why};
}

Meaning Interpreter::on(const from::Released& message, Requests& requests) {
  const std::string wrong = doubt(message.areas);
  if (!wrong.empty()) return Misdeed{"released " + wrong};
  const auto* asked = requests.find<to::Release>(message.app, message.epoch);
  if (asked == nullptr) return {};
  std::set<protocol::AreaNumber> of;
  for (const auto& area : asked->areas) of.insert(area.id);
  if (!subset(message.areas, of))
    return Misdeed{"released areas of " + name(message.app) + " that it was not asked for"};
  std::string why = message.why_not_all;
  if (message.areas.size() < of.size() && why.empty()) why = "the agent gives no reason";
  requests.answered<to::Release>(message.app, message.epoch);
  return event::AreasReleased{run_, {message.app}, message.epoch, area_ids(message.areas), std::move(why)};
}

// ---- applications ----

Meaning Interpreter::on(const from::Serving& message, Requests& requests) {
  std::string wrong = doubt(message.areas);
  const Bytes base = view_.base_bytes;
  if (wrong.empty() && message.base_use_bytes > base)
    wrong = format_size(message.base_use_bytes) + " of base memory, and it has " + format_size(base);
  if (!wrong.empty()) return Misdeed{name(message.app) + " uses " + wrong};
  if (const auto* asked = requests.find<to::Start>(message.app, message.epoch)) {
    if (!subset(message.areas, {asked->areas.begin(), asked->areas.end()}))
      return Misdeed{name(message.app) + " uses areas that it was not given"};
  }
  requests.answered<to::Start>(message.app, message.epoch);
  requests.answered<to::GrowDone>(message.app, message.epoch);
  causes_.erase(message.app);
  return event::AppServing{
      run_, {message.app}, message.epoch, message.base_use_bytes, area_ids(message.areas)};
}

Meaning Interpreter::on(const from::StartFailed& message, Requests& requests) {
  requests.answered<to::Start>(message.app, message.epoch);
  causes_[message.app] = {message.epoch, message.why};
  return event::AppStartFailed{
      run_, {message.app}, message.epoch, message.why, trimmed(message.evidence), message.configuration};
}

Meaning Interpreter::on(const from::Restarting& message, Requests& requests) {
  requests.answered<to::GrowRefused>(message.app, message.epoch);
  return event::AppRestarting{run_,          {message.app},   message.epoch,
                              message.cause, message.attempt, std::chrono::milliseconds(message.delay_ms),
                              message.ending};
}

Meaning Interpreter::on(const from::WantsMemory& message, Requests&) {
  if (message.more_bytes > config_.pool.memory_bytes)
    return Misdeed{name(message.app) + " wants " + format_size(message.more_bytes) + " more"};
  return event::AppWantsMemory{run_, {message.app}, message.epoch, message.more_bytes};
}

Meaning Interpreter::on(const from::Faulted& message, Requests& requests) {
  requests.answered<to::Start>(message.app, message.epoch);
  requests.answered<to::GrowDone>(message.app, message.epoch);
  requests.answered<to::GrowRefused>(message.app, message.epoch);
  causes_[message.app] = {message.epoch, message.cause};
  return event::AppFaulted{run_,          {message.app},    message.epoch,
                           message.cause, message.evidence, message.configuration};
}

Meaning Interpreter::on(const from::Stopped& message, Requests& requests) {
  if (requests.find<to::Stop>(message.app, message.epoch) == nullptr) return {};
  requests.answered<to::Stop>(message.app, message.epoch);
  return event::AppStopped{run_, {message.app}, message.epoch};
}

// Also said when an application that failed does not end: nobody asked for that.
Meaning Interpreter::on(const from::StopFailed& message, Requests& requests) {
  requests.answered<to::Stop>(message.app, message.epoch);
  return event::StopFailed{run_, {message.app}, message.epoch, message.why};
}

Meaning Interpreter::on(const from::State& message, Requests& requests) {
  event::AppsStated stated{run_, {}};
  std::set<protocol::AppNumber> seen;
  for (const auto& app : message.apps) {
    if (!view_.knows(app.app) || !seen.insert(app.app).second) {
      return Misdeed{"it states application " + std::to_string(app.app) +
                     " twice, or it is not configured for this guest"};
    }
    using protocol::Phase;
    event::AppStated out{{app.app}, app.epoch, true, false, ""};
    switch (app.phase) {
      case Phase::idle: continue;
      case Phase::starting:
      case Phase::serving: break;
      case Phase::stopping: out.ending = true; break;
      case Phase::restarting:
      case Phase::wanting_memory:
      case Phase::ending: out.restarting = true; break;
      case Phase::faulted: {
        const auto cause = causes_.find(app.app);
        const bool known = cause != causes_.end() && cause->second.first == app.epoch;
        out.runs = false;
        out.fault = known ? cause->second.second : "given up by its guest";
        break;
      }
    }
    stated.apps.push_back(std::move(out));
  }
  const auto& open = requests.unanswered();
  const bool asked = std::any_of(open.begin(), open.end(), [](const auto& request) {
    return std::holds_alternative<to::Query>(request);
  });
  if (!asked) return {};
  requests.state_answered();
  return stated;
}

Meaning Interpreter::on(const from::Prepared&, Requests& requests) {
  (void)requests;
  return {};
}

Meaning Interpreter::on(const from::Tail&, Requests&) {
  return {};
}

Meaning Interpreter::on(const from::Log&, Requests&) {
  return {};
}

}  // namespace understudy::link

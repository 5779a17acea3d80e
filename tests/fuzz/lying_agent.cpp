// What the daemon makes of an agent that lies: the interpreter, over a fixed set-up, fed with a sequence of
// lines. The input is that sequence; a line that begins with '>' is a request of the daemon, given to the
// requests that are unanswered (as far as a daemon would send it), every other line comes from the agent.
//
// Guest alpha (0) speaks. It may have "redis" (0) and "mine" (2), and never "ledger" (1), which is beta's.
#include "../unit/link/fixtures.hpp"
#include "link/interpreter.hpp"
#include "property.hpp"
#include "protocol/codec.hpp"
#include "protocol/line_reader.hpp"

#include <algorithm>
#include <set>

using namespace understudy;
using namespace understudy::link;
using fuzz::check_error;

namespace {

namespace event = core::event;
namespace to = protocol::to_agent;

using test::kAlpha;
constexpr std::size_t kMostMisdeedBytes = 300;

config::Config set_up() {
  config::Config config = test::two_guests();
  config::Application mine = config.applications[0];
  mine.name = "mine";
  mine.guests = {{0}};
  config.applications.push_back(std::move(mine));
  return config;
}

const config::Config& configured() {
  static const config::Config kConfig = set_up();
  return kConfig;
}

// Its twin for rehearsals is as good as the application.
bool mine(core::AppId app) {
  return app.value == 0 || app.value == 2 || app.value == configured().twin_of(0) ||
         app.value == configured().twin_of(2);
}

void check_areas(const std::vector<core::AreaId>& areas) {
  std::set<core::AreaId> seen;
  for (const core::AreaId area : areas) {
    US_PROPERTY(area.value < configured().area_count(), std::to_string(area.value));
    US_PROPERTY(seen.insert(area).second, "the same area twice");
  }
}

void check_memory(const event::MemoryReport& memory) {
  US_PROPERTY(memory.available_bytes <= memory.total_bytes, "more available than there is");
  const Bytes most = 128_MiB + configured().area_count() * configured().pool.area_bytes;
  US_PROPERTY(memory.total_bytes <= most, format_size(memory.total_bytes));
}

// Whether the daemon would have sent it to this guest: its own applications, areas that exist, each once.
bool plausible(const protocol::ToAgent& request) {
  const auto areas_exist = [](const auto& areas) {
    std::set<std::uint32_t> seen;
    return std::all_of(areas.begin(), areas.end(), [&](const protocol::Area& area) {
      return area.id < configured().area_count() && seen.insert(area.id).second &&
             area.bytes == configured().pool.area_bytes;
    });
  };
  const bool of_mine = std::visit(
      [](const auto& one) {
        if constexpr (requires { one.app; }) return mine({one.app});
        return true;
      },
      request);
  if (!of_mine) return false;
  if (const auto* engage = std::get_if<to::Engage>(&request)) return areas_exist(engage->areas);
  if (const auto* release = std::get_if<to::Release>(&request)) return areas_exist(release->areas);
  return !std::holds_alternative<to::Greet>(request) && !std::holds_alternative<to::Welcome>(request) &&
         !std::holds_alternative<to::Refuse>(request) && !std::holds_alternative<to::Drill>(request);
}

// Every event that may come of a message, held against what was unanswered before it.
struct CheckEvent {
  const Requests& before;

  void about(core::GuestRun run) const { US_PROPERTY(run == kAlpha, "another guest or run"); }
  template <class Event>
  void about_app(const Event& event) const {
    about(event.run);
    US_PROPERTY(mine(event.app), std::to_string(event.app.value));
  }

  void operator()(const event::AgentGreeted& event) const {
    about(event.run);
    check_memory(event.memory);
  }
  void operator()(const event::AgentBeat& event) const {
    about(event.run);
    check_memory(event.memory);
  }
  void operator()(const event::NeedStated& event) const {
    about_app(event);
    const auto* asked = before.find<to::Need>(event.app.value, event.epoch);
    US_PROPERTY(asked != nullptr, "nobody asked for its need");
    US_PROPERTY(event.missing_bytes <= 2 * (asked->memory_bytes + 256_MiB), format_size(event.missing_bytes));
  }
  void operator()(const event::AreasEngaged& event) const {
    about_app(event);
    check_memory(event.memory);
    US_PROPERTY(before.find<to::Engage>(event.app.value, event.epoch) != nullptr, "nobody gave it areas");
  }
  void operator()(const event::EngageFailed& event) const {
    about_app(event);
    US_PROPERTY(before.find<to::Engage>(event.app.value, event.epoch) != nullptr, "nobody gave it areas");
  }
  void operator()(const event::AppServing& event) const {
    about_app(event);
    check_areas(event.areas_in_use);
    US_PROPERTY(event.base_use_bytes <= 128_MiB, format_size(event.base_use_bytes));
    const auto* start = before.find<to::Start>(event.app.value, event.epoch);
    if (start == nullptr) return;
    for (const core::AreaId area : event.areas_in_use) {
      US_PROPERTY(std::count(start->areas.begin(), start->areas.end(), area.value) > 0,
                  std::to_string(area.value));
    }
  }
  void operator()(const event::AppStartFailed& event) const { about_app(event); }
  void operator()(const event::AppRestarting& event) const { about_app(event); }
  void operator()(const event::AppWantsMemory& event) const {
    about_app(event);
    US_PROPERTY(event.more_bytes <= configured().pool.memory_bytes, format_size(event.more_bytes));
  }
  void operator()(const event::AppFaulted& event) const { about_app(event); }
  void operator()(const event::AppsStated& event) const {
    about(event.run);
    std::set<core::AppId> seen;
    for (const event::AppStated& app : event.apps) {
      US_PROPERTY(mine(app.app) && seen.insert(app.app).second, std::to_string(app.app.value));
      US_PROPERTY(app.fault.empty() || !app.runs, app.fault);
    }
    US_PROPERTY(std::any_of(before.unanswered().begin(), before.unanswered().end(),
                            [](const auto& one) { return std::holds_alternative<to::Query>(one); }),
                "nobody asked for the state");
  }
  void operator()(const event::AppStopped& event) const {
    about_app(event);
    US_PROPERTY(before.find<to::Stop>(event.app.value, event.epoch) != nullptr, "nobody asked it to stop");
  }
  void operator()(const event::StopFailed& event) const { about_app(event); }
  void operator()(const event::AreasReleased& event) const {
    about_app(event);
    check_areas(event.areas);
    const auto* asked = before.find<to::Release>(event.app.value, event.epoch);
    US_PROPERTY(asked != nullptr, "nobody asked for areas");
    for (const core::AreaId area : event.areas) {
      US_PROPERTY(std::any_of(asked->areas.begin(), asked->areas.end(),
                              [&](const protocol::Area& each) { return each.id == area.value; }),
                  std::to_string(area.value));
    }
    US_PROPERTY(event.areas.size() == asked->areas.size() || !event.why_not_all.empty(), "no reason");
  }
  template <class Other>
  void operator()(const Other&) const {
    US_PROPERTY(false, "an event that no agent may cause");
  }
};

void hear(std::string_view line, Interpreter& interpreter, Requests& requests) {
  const auto message = protocol::decode_from_agent(line);
  if (!message) return;
  const Requests before = requests;
  const Meaning meaning = interpreter.interpret(*message, requests);
  US_PROPERTY(requests.unanswered().size() <= before.unanswered().size(), line);
  if (const auto* event = std::get_if<core::Event>(&meaning)) std::visit(CheckEvent{before}, *event);
  if (const auto* misdeed = std::get_if<Misdeed>(&meaning)) {
    check_error(misdeed->what, kMostMisdeedBytes);
    US_PROPERTY(requests.unanswered() == before.unanswered(), misdeed->what);
  }
}

void ask(std::string_view line, Requests& requests) {
  const auto request = protocol::decode_to_agent(line);
  if (!request || !plausible(*request)) return;
  US_PROPERTY(requests.add(*request) || requests.unanswered().size() == Requests::kMost, line);
  US_PROPERTY(requests.unanswered().size() <= Requests::kMost, line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes = fuzz::text_of(data, size);
  Interpreter interpreter(configured(), kAlpha);
  Requests requests;
  protocol::LineReader reader(protocol::kMaxLineToDaemon, protocol::LineReader::OnOversized::resynchronise);
  while (!bytes.empty()) {
    if (reader.take(bytes) != protocol::LineReader::Found::line) continue;
    const std::string_view line = reader.line();
    if (line.starts_with('>')) {
      ask(line.substr(1), requests);
    } else {
      hear(line, interpreter, requests);
    }
  }
  return 0;
}

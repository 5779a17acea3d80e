// "Protected" is a statement about the future. It is found by trying: the guest fails in a copy of the state,
// and the real handlers decide there about everything that goes down with it, in their order, until nothing
// moves any more. A formula beside them ("is there a guest with room for it?") was tried first; it knew
// nothing of the flap limit, of a second application that fails at the same time and wants the same slots, of
// priorities and of pre-emption.
#include "core/forecast.hpp"

#include "core/state.hpp"

#include <algorithm>

namespace understudy::core {

namespace {

using namespace move_step;

// Every answer brings something forward and nothing goes round: far more than any failure takes.
constexpr std::size_t kMostAnswersPerArea = 16;
constexpr std::size_t kMostAnswersBesides = 1000;

bool answers(const State& state, GuestRun run) {
  const Guest& guest = state.guest(run.guest);
  return guest.current() == run && guest.ready() != nullptr;
}

// What the guest says when it has taken in the areas of an application: they are nobody else's.
MemoryReport memory_in(const State& state, GuestRun run) {
  MemoryReport memory = state.guest(run.guest).ready()->memory;
  memory.total_bytes =
      std::max(memory.total_bytes, state.definition(run.guest).base_bytes +
                                       state.table.count_in(run) * state.setup.pool.area_bytes);
  return memory;
}

Bytes missing_bytes(const State& state, const Application& app, GuestRun run) {
  return compute_need(state.setup.app(app.id).desired_bytes,
                      base_available_bytes(state, state.guest(run.guest)))
      .missing_bytes;
}

// An area of this application that somebody is at work on: what he will say.
std::optional<Event> area_answer(const State& state, const Application& app) {
  for (const Area& area : state.table.areas()) {
    if (area.user != app.id) continue;
    if (area.state == AreaState::scrubbing) return event::AreaScrubbed{area.id};
    if (!area.in || !answers(state, *area.in)) continue;
    if (area.state == AreaState::plugging) return event::AreaPlugged{*area.in, area.id, area.guest_address};
    if (area.state == AreaState::unplugging) return event::AreaUnplugged{*area.in, area.id};
  }
  return std::nullopt;
}

// The good answer to what an application on its way waits for; none: it waits for something else.
struct MoveAnswer {
  const State& state;
  const Application& app;

  std::optional<Event> operator()(const Stopping& at) const {
    if (!answers(state, at.from)) return std::nullopt;
    return event::AppStopped{at.from, app.id, app.epoch};
  }
  std::optional<Event> operator()(const Releasing& at) const {
    if (!answers(state, at.from) || at.take_part) return std::nullopt;
    if (at.engaging) return event::AreasEngaged{at.from, app.id, app.epoch, memory_in(state, at.from)};
    event::AreasReleased answer{at.from, app.id, app.epoch, {}, ""};
    for (const AreaId id : state.table.in_use_by(app.id, at.from)) {
      if (state.table.area(id).state == AreaState::releasing) answer.areas.push_back(id);
    }
    if (answer.areas.empty()) return std::nullopt;
    return answer;
  }
  std::optional<Event> operator()(const Sizing& at) const {
    if (!answers(state, at.to)) return std::nullopt;
    return event::NeedStated{at.to, app.id, app.epoch, missing_bytes(state, app, at.to)};
  }
  std::optional<Event> operator()(const Engaging& at) const {
    if (!answers(state, at.to)) return std::nullopt;
    return event::AreasEngaged{at.to, app.id, app.epoch, memory_in(state, at.to)};
  }
  std::optional<Event> operator()(const Starting& at) const {
    if (!answers(state, at.to)) return std::nullopt;
    return event::AppServing{at.to, app.id, app.epoch, 0, {}};
  }
  std::optional<Event> operator()(const Plugging&) const { return std::nullopt; }       // areas answer
  std::optional<Event> operator()(const AwaitingFence&) const { return std::nullopt; }  // guests answer
  std::optional<Event> operator()(const Resuming&) const { return std::nullopt; }
  std::optional<Event> operator()(const Choosing&) const { return std::nullopt; }
  std::optional<Event> operator()(const Yielding&) const { return std::nullopt; }
};

// Growth under way, of an application that serves on.
std::optional<Event> growth_answer(const State& state, const Application& app,
                                   const app_state::Serving& serving) {
  if (!serving.growing || !answers(state, serving.on)) return std::nullopt;
  return event::AreasEngaged{serving.on, app.id, app.epoch, memory_in(state, serving.on)};
}

// `turn` is whose answer comes first: those of several go on side by side, as they do in reality.
std::optional<Event> next_answer(const State& state, std::size_t& turn) {
  for (const Guest& guest : state.guests) {
    if (std::holds_alternative<guest_state::Fencing>(guest.state))
      return event::GuestFenced{guest.current(), "supposed"};
  }
  for (std::size_t looked_at = 0; looked_at < state.apps.size(); ++looked_at) {
    const Application& app = state.apps[turn++ % state.apps.size()];
    std::optional<Event> answer = area_answer(state, app);
    const auto* moving = app.moving();
    if (!answer && moving != nullptr) answer = std::visit(MoveAnswer{state, app}, moving->move.step);
    if (!answer && app.serving() != nullptr) answer = growth_answer(state, app, *app.serving());
    if (answer) return answer;
  }
  return std::nullopt;
}

// Memory of the guest's base that an application which was just started may use is nobody else's any more.
void take_base_memory(State& state, const Event& event) {
  const auto* started = std::get_if<event::AppServing>(&event);
  if (started == nullptr) return;
  auto* ready = std::get_if<guest_state::Ready>(&state.guest(started->run.guest).state);
  const auto* serving = state.app(started->app).serving();
  if (ready == nullptr || serving == nullptr) return;
  const Bytes in_areas =
      state.table.in_use_by(started->app, started->run).size() * usable_bytes(state.setup.pool.area_bytes);
  const Bytes in_base = serving->limit_bytes - std::min(serving->limit_bytes, in_areas);
  ready->memory.available_bytes -= std::min(ready->memory.available_bytes, in_base);
}

void happens(State& state, const Event& event) {
  Outputs nobody_acts;
  Step step{state, state.now, nobody_acts};
  std::visit([&](const auto& e) { handle(step, e); }, event);
  advance_applications(step);
  take_base_memory(state, event);
}

void settle(State& state) {
  const std::size_t most = kMostAnswersBesides + kMostAnswersPerArea * state.table.areas().size();
  std::size_t turn = 0;
  for (std::size_t given = 0; given < most; ++given) {
    const auto answer = next_answer(state, turn);
    if (!answer) return;
    happens(state, *answer);
  }
}

void fail(State& state, GuestId failing) {
  happens(state, event::GuestPanicked{state.guest(failing).current()});
  settle(state);
}

bool somebody_moves(const State& state) {
  return std::any_of(state.apps.begin(), state.apps.end(), [&](const Application& app) {
    return !state.is_twin(app.id) && app.moving() != nullptr;
  });
}

// Whoever is on his way when the guest fails may have arrived before that, wherever he does not want to go
// yet.
void let_everybody_arrive(State& state) {
  for (Application& app : state.apps) {
    if (app.moving() != nullptr) app.avoid.clear();
  }
  Outputs nobody_acts;
  Step step{state, state.now, nobody_acts};
  advance_applications(step);
  settle(state);
}

// Of those where it could have gone, what speaks against each.
std::string why_nowhere(const State& state, const Application& app, GuestId failed) {
  std::string why;
  for (const GuestId id : state.setup.app(app.id).guests) {
    if (id == failed) continue;
    const std::string reason = why_no_takeover(state, app, state.guest(id));
    if (reason.empty()) continue;
    why += (why.empty() ? "" : "; ") + reason;
  }
  return why.empty() ? app.in_step<Choosing>()->why_not_yet : why;
}

Forecast::Fate fate_of(const State& after, AppId id, GuestId failed) {
  const Application& app = after.app(id);
  Forecast::Fate fate{id, std::nullopt, "", false};
  if (const auto* serving = app.serving()) {
    fate.on = serving->on.guest;
  } else if (const auto* given_up = std::get_if<app_state::Failed>(&app.state)) {
    fate.given_up = true;
    fate.why_not = "it would be given up: " + given_up->why;
  } else if (const auto* moving = app.moving()) {
    std::string why = hands_off(after, app);
    if (why.empty()) why = after.journal_trouble;
    if (why.empty() && app.in_step<Choosing>() != nullptr) why = why_nowhere(after, app, failed);
    fate.why_not = why.empty() ? std::string("it would stay ") + move_step_name(moving->move.step) : why;
  } else {
    fate.why_not = "it would be stopped";
  }
  return fate;
}

}  // namespace

const Forecast::Fate* Forecast::of(AppId app) const {
  const auto found =
      std::find_if(fates.begin(), fates.end(), [&](const Fate& fate) { return fate.app == app; });
  return found != fates.end() ? &*found : nullptr;
}

const Forecast& forecast(const State& state, GuestId failing) {
  std::optional<Forecast>& kept = state.forecasts.at(failing.value);
  if (kept) return *kept;
  Forecast made;
  State supposed = state;
  fail(supposed, failing);
  std::optional<State> later;  // the same failure, seen only after everybody who is on his way has arrived
  if (somebody_moves(state)) {
    later = state;
    let_everybody_arrive(*later);
    fail(*later, failing);
  }
  for (const Application& app : state.apps) {
    const auto* serving = app.serving();
    if (serving == nullptr || serving->on.guest != failing) continue;
    made.fates.push_back(fate_of(supposed, app.id, failing));
    if (!later || !made.fates.back().on) continue;
    Forecast::Fate then = fate_of(*later, app.id, failing);
    if (!then.on) made.fates.back() = std::move(then);
  }
  kept = std::move(made);
  return *kept;
}

}  // namespace understudy::core

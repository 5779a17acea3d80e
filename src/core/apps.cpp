// What the operator wants of applications, and their own faults.
#include "core/state.hpp"

#include <string>
#include <utility>

namespace understudy::core {

namespace {

// The run that still has areas of an application that was stopped a moment ago, other than what a guest
// keeps.
std::optional<GuestRun> left_behind(const State& state, AppId app) {
  for (const Area& area : state.table.areas()) {
    if (area.user == app && area.in && area.state != AreaState::releasing) return area.in;
  }
  return std::nullopt;
}

void start(Step& step, Application& app, const std::string& cause) {
  app.wanted = true;
  app.avoid.clear();
  begin_move(step, app, cause, std::nullopt, step.now, move_step::Choosing{});
  const auto left = left_behind(step.state, app.id);
  if (!left) return;
  const Guest& guest = step.state.guest(left->guest);
  if (guest.adopted && !std::holds_alternative<guest_state::Fencing>(guest.state)) {
    // Whether that guest lives is being found out since the daemon's restart.
    app.moving()->move.step = move_step::Resuming{*left, true};
  } else if (guest.believed_up()) {
    enter_releasing(step, app, *left);
  } else {
    enter_fencing(step, app, *left);
  }
}

Time fault_began(Step& step, GuestRun run) {
  Guest& guest = step.state.guest(run.guest);
  if (!guest.drill) return step.now;
  const Time at = guest.drill->at;
  guest.drill.reset();
  return at;
}

}  // namespace

void handle(Step& step, const event::BringUp&) {
  for (Guest& guest : step.state.guests) guest.wanted = true;
  for (Application& app : step.state.apps) {
    if (step.state.is_twin(app.id)) continue;
    if (std::holds_alternative<app_state::Idle>(app.state)) start(step, app, "first start");
    if (app.moving() != nullptr) app.wanted = true;  // it was going down
  }
}

void handle(Step& step, const event::BringDown&) {
  for (Guest& guest : step.state.guests) guest.wanted = false;
  for (Application& app : step.state.apps) {
    if (step.state.is_twin(app.id)) continue;  // it leaves by itself
    app.wanted = false;
    if (auto* serving = app.serving()) {
      const GuestRun on = serving->on;
      step.out.withdraw.push_back({app.id});
      begin_move(step, app, "going down", std::nullopt, step.now, move_step::Choosing{});
      enter_stopping(step, app, on);
    } else if (const auto place = app.place()) {
      // On its way somewhere: nothing of it serves yet, so its guest may simply end.
      condemn(step, step.state.guest(place->guest), "going down", step.now);
    }
  }
}

void handle(Step& step, const event::StartApp& event) {
  Application& app = step.state.app(event.app);
  if (app.moving() != nullptr || app.serving() != nullptr || step.state.is_twin(app.id)) return;
  start(step, app, "start asked for");
}

void handle(Step& step, const event::Switchover& event) {
  Application& app = step.state.app(event.app);
  auto* serving = app.serving();
  if (serving == nullptr || serving->growing) return;
  const GuestRun from = serving->on;
  // Chosen while it still serves: what it has there counts as what could be given to it elsewhere.
  std::optional<GuestId> preferred = event.to;
  for (const GuestId id : step.state.setup.app(app.id).guests) {
    if (preferred || id == from.guest || !why_not(step.state, app, step.state.guest(id)).empty()) continue;
    preferred = id;
  }
  step.out.withdraw.push_back({app.id});
  Move& move = begin_move(step, app, "planned switchover", from.guest, step.now, move_step::Choosing{});
  move.preferred = preferred;
  enter_stopping(step, app, from);
}

void enter_trouble(Step& step, Application& app, std::string trouble) {
  auto* serving = app.serving();
  serving->trouble = std::move(trouble);
  serving->unreachable.clear();  // looked at anew when it serves again
  if (serving->withdrawn || !step.state.setup.app(app.id).has_address) return;
  serving->withdrawn = true;
  step.out.withdraw.push_back({app.id});
}

void handle(Step& step, const event::AppRestarting& event) {
  Application& app = step.state.app(event.app);
  auto* serving = app.serving();
  if (serving == nullptr || serving->on != event.run || app.epoch != event.epoch) return;
  enter_trouble(step, app, event.cause);
  step.note(Severity::warning, "app-restarting",
            step.state.name(app.id) + " failed on " + step.state.name(event.run.guest) + ": " + event.cause +
                "; restarted in place, attempt " + std::to_string(event.attempt),
            event.run.guest, app.id);
}

void handle(Step& step, const event::AppFaulted& event) {
  Application& app = step.state.app(event.app);
  if (app.in_step<move_step::Starting>() != nullptr) {
    // Started by a former daemon, it had served before this one asked for its start again.
    handle(step, event::AppStartFailed{event.run, event.app, event.epoch, event.cause});
    return;
  }
  auto* serving = app.serving();
  if (serving == nullptr || serving->on != event.run || app.epoch != event.epoch) return;
  if (!app.wanted || serving->unconfirmed) return;  // its agent says it again when it is asked
  const GuestRun from = event.run;
  const std::string cause =
      step.state.name(app.id) + " failed on " + step.state.name(from.guest) + ": " + event.cause;
  step.note(Severity::error, "app-faulted",
            cause + (event.evidence.empty() ? "" : "; its last words: " + event.evidence), from.guest,
            app.id);
  step.out.withdraw.push_back({app.id});
  if (serving->growing) {
    // Areas are on their way into a guest that has just lost its reason to have them.
    condemn(step, step.state.guest(from.guest), cause, fault_began(step, from));
    return;
  }
  Move& move = begin_move(step, app, cause, from.guest, fault_began(step, from), move_step::Choosing{});
  count_takeover(step, app);
  if (!step.state.setup.app(app.id).hot_standby) move.give_up = event.cause;
  // The guest may be a candidate again, but not first of all.
  Application::Avoid& avoided = app.avoid[from.guest];
  avoided.times = 1;
  avoided.until = step.now + std::chrono::seconds(1);
  enter_releasing(step, app, from);
}

}  // namespace understudy::core

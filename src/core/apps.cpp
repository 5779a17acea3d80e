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

// Beyond the delay before the start and its limit: what is left of it is killed first, before the start and
// after one that failed, and answers take their time.
constexpr Duration kRestartGrace = std::chrono::seconds(30);

// It can serve no longer where it is: no client reaches it, and it is on its way. The caller sets the step.
Move& leave(Step& step, Application& app, const std::string& cause, const std::string& why_given_up) {
  const GuestRun from = app.serving()->on;
  step.out.withdraw.push_back({app.id});
  Move& move = begin_move(step, app, cause, from.guest, fault_began(step.state.guest(from.guest), step.now),
                          move_step::Choosing{});
  count_own_takeover(step, app);
  if (!step.state.setup.app(app.id).hot_standby) move.give_up = why_given_up;
  // The guest may be a candidate again, but not first of all.
  Application::Avoid& avoided = app.avoid[from.guest];
  avoided.times = 1;
  avoided.why = why_given_up;
  avoided.until = step.now + std::chrono::seconds(1);
  return move;
}

bool in_maintenance(const Step& step, GuestId id) {
  const auto& until = step.state.guest(id).maintenance_until;
  return until && step.now < *until;
}

}  // namespace

void start(Step& step, Application& app, const std::string& cause) {
  app.wanted = true;
  app.avoid.clear();
  app.failed_starts = 0;
  app.failing.clear();
  app.suspicion.reset();
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
  for (Application& app : step.state.apps) app.suspicion.reset();
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
  if (is_held_back(step.state, app)) app.suspicion.reset();
  if (app.moving() != nullptr || app.serving() != nullptr || step.state.is_twin(app.id)) return;
  start(step, app, "start asked for");
}

std::string why_no_switchover(const State& state, const Application& app, bool may_fence) {
  const std::string& name = state.name(app.id);
  const auto* serving = app.serving();
  const auto* stopping = app.in_step<move_step::Stopping>();
  if (stopping != nullptr && stopping->overdue && may_fence && !state.is_twin(app.id)) return "";
  if (serving == nullptr) return name + " is not serving";
  if (serving->growing) return name + " is being given more memory; ask again when that is over";
  if (may_fence || state.guest(serving->on.guest).ready() != nullptr) return "";
  // It will hardly end the application, let alone let go of its memory.
  for (const Application& other : state.apps) {
    if (other.id == app.id || other.place() != serving->on) continue;
    const std::string& guest = state.name(serving->on.guest);
    return guest + "'s agent does not answer, so " + guest + " might have to be ended, and " +
           state.name(other.id) + " is there too; --fence allows that";
  }
  return "";
}

void handle(Step& step, const event::StopApp& event) {
  Application& app = step.state.app(event.app);
  if (!why_not_stop(step.state, app).empty()) return;
  app.suspicion.reset();
  if (std::holds_alternative<app_state::Failed>(app.state)) return stopped_by_order(step, app);
  if (const auto* serving = app.serving()) {
    const GuestRun from = serving->on;
    step.out.withdraw.push_back({app.id});
    // It leaves its guest for nowhere: that is no takeover, and not announced as one.
    Move& move = begin_move(step, app, std::string(app_state::kStoppedByOrder), std::nullopt, step.now,
                            move_step::Choosing{});
    move.from = from.guest;
    move.give_up = app_state::kStoppedByOrder;
    move.planned = true;
    enter_stopping(step, app, from);
    return;
  }
  app.moving()->move.give_up = app_state::kStoppedByOrder;
  app.moving()->move.planned = true;
  if (const auto* starting = app.in_step<move_step::Starting>()) {
    enter_stopping(step, app, starting->to);
  } else if (app.in_step<move_step::Choosing>() != nullptr) {
    enter_choosing(step, app);
  }
}

void handle(Step& step, const event::Switchover& event) {
  Application& app = step.state.app(event.app);
  if (!why_no_switchover(step.state, app, event.may_fence).empty()) return;  // whoever asked was told
  if (const auto* stopping = app.in_step<move_step::Stopping>()) {
    const GuestRun from = stopping->from;
    app.moving()->move.may_fence = true;
    condemn(step, step.state.guest(from.guest),
            step.state.name(app.id) + " does not end on " + step.state.name(from.guest) +
                ", and its end was ordered",
            step.now, app.id);
    return;
  }
  auto* serving = app.serving();
  const GuestRun from = serving->on;
  // Chosen while it still serves: what it has there counts as what could be given to it elsewhere.
  std::optional<GuestId> preferred = event.to;
  std::string nobody;
  if (!preferred) preferred = ready_standby(step.state, app, nobody);
  step.out.withdraw.push_back({app.id});
  Move& move = begin_move(step, app, "planned switchover", from.guest, step.now, move_step::Choosing{});
  move.preferred = preferred;
  move.planned = true;
  move.may_fence = event.may_fence;
  enter_stopping(step, app, from);
}

void enter_trouble(Step& step, Application& app, std::string trouble, Duration delay) {
  auto* serving = app.serving();
  serving->trouble = std::move(trouble);
  serving->restart_due = step.now + delay + step.state.setup.app(app.id).start_limit + kRestartGrace;
  serving->unreachable.clear();  // looked at anew when it serves again
  if (serving->withdrawn || !step.state.has_port_for(app.id, serving->on.guest)) return;
  serving->withdrawn = true;
  step.out.withdraw.push_back({app.id});
}

void handle(Step& step, const event::AppRestarting& event) {
  Application& app = step.state.app(event.app);
  auto* serving = app.serving();
  if (serving == nullptr || serving->on != event.run || app.epoch != event.epoch) return;
  enter_trouble(step, app, event.cause, event.delay);
  const std::string next = event.ending ? "it was killed, and has not ended yet"
                           : event.attempt == 0
                               ? "restarted in place, which does not count against it"
                               : "restarted in place, attempt " + std::to_string(event.attempt);
  step.note(Severity::warning, "app-restarting",
            step.state.name(app.id) + " failed on " + step.state.name(event.run.guest) + ": " + event.cause +
                "; " + next,
            event.run.guest, app.id);
}

void handle(Step& step, const event::AppFaulted& event) {
  Application& app = step.state.app(event.app);
  if (app.in_step<move_step::Starting>() != nullptr) {
    // Started by a former daemon, it had served before this one asked for its start again.
    handle(step, event::AppStartFailed{event.run, event.app, event.epoch, event.cause, event.evidence,
                                       event.configuration});
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
  const bool engaging = growth_being_confirmed(step.state, app);
  leave(step, app, cause, event.cause);
  if (event.configuration) app.moving()->move.give_up = event.cause;
  enter_releasing(step, app, from, engaging);
}

// It may still run there, unknown to the agent that was started anew: it is asked to end it.
void agent_forgot(Step& step, Application& app) {
  const GuestRun from = app.serving()->on;
  const std::string& guest = step.state.name(from.guest);
  const std::string cause =
      guest + "'s agent knows nothing of " + step.state.name(app.id) + ", which should serve there";
  step.note(Severity::error, "app-faulted", cause, from.guest, app.id);
  leave(step, app, cause, cause);
  enter_stopping(step, app, from);
}

// Its agent has said that it restarts it, and nothing since. Its word that the application failed again, or
// that it does not end, may be lost, and may never have been given.
void restart_overdue(Step& step, Application& app) {
  app_state::Serving& serving = *app.serving();
  const Guest& guest = step.state.guest(serving.on.guest);
  if (guest.ready() == nullptr || !hands_off(step.state, app).empty()) {
    // An agent that is silent could not say it, and whoever asked for maintenance knows.
    serving.restart_due = step.now + kRestartGrace;
    return;
  }
  const GuestRun from = serving.on;
  const std::string cause = step.state.name(app.id) + " did not come back on " + step.state.name(from.guest) +
                            " within " +
                            format_duration(step.state.setup.app(app.id).start_limit + kRestartGrace) + " (" +
                            serving.trouble + ")";
  step.note(Severity::error, "app-faulted", cause, from.guest, app.id);
  leave(step, app, cause, cause);
  enter_stopping(step, app, from);
}

// Killed, and still there: nobody can say that it does not run, and it holds its memory. Only the end of its
// guest ends it, whoever else serves there.
void handle(Step& step, const event::StopFailed& event) {
  Application& app = step.state.app(event.app);
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || app.place() != event.run || app.epoch != event.epoch) return;
  const std::string& name = step.state.name(app.id);
  const std::string cause = name + " does not end on " + step.state.name(guest->id) + " (" + event.why + ")";
  const auto* serving = app.serving();
  if (serving != nullptr || app.in_step<move_step::Stopping>() == nullptr) {
    step.note(Severity::error, "app-faulted", cause, guest->id, app.id);
  }
  if (in_maintenance(step, guest->id)) {
    // Its faults move nothing until then, and whatever holds the processes may be what is being worked on.
    // But it serves nobody; it is asked to end again, and has the time of the maintenance for it.
    if (serving == nullptr) return;
    leave(step, app, cause, cause);
    enter_stopping(step, app, event.run);
    return;
  }
  if (app.in_step<move_step::Stopping>() != nullptr) return does_not_end(step, app, cause);
  condemn(step, *guest, cause, serving != nullptr ? fault_began(*guest, step.now) : step.now, app.id);
}

void leave_for_memory(Step& step, Application& app, const std::string& cause) {
  const GuestRun from = app.serving()->on;
  step.note(Severity::error, "app-faulted", cause, from.guest, app.id);
  leave(step, app, cause, cause);
  enter_stopping(step, app, from);  // its agent is about to start it again, and may have done so
}

}  // namespace understudy::core

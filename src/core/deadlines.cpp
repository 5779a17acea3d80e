// What an application does when nothing but time has passed, and what follows when somebody did not answer in
// time: every step of a move has a limit here, or says why it has none. Only healthy guests are asked to take
// one.
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

using namespace move_step;

// In maintenance, a guest has the time of that to end an application.
Time stopping_due(const State& state, const Stopping& stopping) {
  const auto& maintenance = state.guest(stopping.from.guest).maintenance_until;
  return maintenance ? std::max(stopping.deadline, *maintenance) : stopping.deadline;
}

void limit_passed(Step& step, Application& app) {
  const std::string& name = step.state.name(app.id);
  if (const auto* sizing = app.in_step<Sizing>()) {
    condemn_slow(step, GuestRun(sizing->to), "say what " + name + " needs", kSizingLimit);
  } else if (app.in_step<Plugging>() != nullptr) {
    advance_plugging(step, app);
  } else if (const auto* engaging = app.in_step<Engaging>()) {
    condemn_slow(step, GuestRun(engaging->to), "confirm the memory for " + name, kEngagingLimit);
  } else if (const auto* starting = app.in_step<Starting>()) {
    // It may run half way: it must be gone for certain before it is started anywhere.
    const GuestRun in = starting->to;
    const std::string why =
        "it was not ready within " + format_duration(step.state.setup.app(app.id).start_limit);
    if (step.state.is_twin(app.id)) {
      rehearsal_fails(app, why);
    } else {
      start_failed(step, app, in, why + ", and its agent does not say why", "");
    }
    enter_stopping(step, app, in);
  } else if (const auto* stopping = app.in_step<Stopping>()) {
    does_not_end(step, app,
                 step.state.name(stopping->from.guest) + " did not end " + name + " within " +
                     format_duration(step.state.setup.app(app.id).stop_limit));
  } else if (app.in_step<Releasing>() != nullptr) {
    advance_releasing(step, app);
  }
}

}  // namespace

void condemn_slow(Step& step, GuestRun run, const std::string& what, Duration limit,
                  std::optional<AppId> ended_for) {
  const std::string& name = step.state.name(run.guest);
  condemn(step, step.state.guest(run.guest), name + " did not " + what + " within " + format_duration(limit),
          step.now, ended_for);
}

void advance(Step& step, Application& app) {
  const auto* serving = app.serving();
  if (serving != nullptr && serving->growing && step.now >= *serving->growing) {
    condemn_slow(step, GuestRun(serving->on), "take more memory for " + step.state.name(app.id), kGrowthLimit,
                 app.id);
    return;
  }
  if (serving != nullptr && serving->restart_due && step.now >= *serving->restart_due)
    return restart_overdue(step, app);
  if (serving != nullptr) return grow_after_rehearsal(step, app);
  if (auto* choosing = app.in_step<Choosing>()) {
    advance_choosing(step, app, *choosing);
  } else if (app.in_step<Yielding>() != nullptr) {
    advance_yielding(step, app);
  } else if (const auto due = deadline(step.state, app); due && step.now >= *due) {
    limit_passed(step, app);
  }
}

void postpone_deadlines(State& state, Duration by) {
  if (by <= Duration{}) return;
  const auto postpone = [by](auto& step) {
    if constexpr (requires { step.deadline; }) step.deadline += by;
  };
  for (Application& app : state.apps) {
    if (auto* moving = app.moving()) std::visit(postpone, moving->move.step);
    auto* serving = app.serving();
    if (serving != nullptr && serving->growing) *serving->growing += by;
    if (serving != nullptr && serving->restart_due) *serving->restart_due += by;
  }
}

std::optional<Time> deadline(const State& state, const Application& app) {
  struct At {
    const State& state;
    const Application& app;
    std::optional<Time> operator()(const AwaitingFence&) const { return std::nullopt; }
    std::optional<Time> operator()(const Resuming&) const { return std::nullopt; }  // its guest has one
    std::optional<Time> operator()(const Choosing&) const {
      std::optional<Time> at;
      if (is_held_back(state, app)) at = app.suspicion->held_until;
      for (const auto& [guest, entry] : app.avoid) {
        if (entry.until > state.now) at = at ? std::min(*at, entry.until) : entry.until;
      }
      return at;
    }
    std::optional<Time> operator()(const Stopping& step) const { return stopping_due(state, step); }
    std::optional<Time> operator()(const Releasing& step) const { return releasing_due(step); }
    std::optional<Time> operator()(const Sizing& step) const { return step.deadline; }
    std::optional<Time> operator()(const Plugging& step) const { return plugging_due(step); }
    std::optional<Time> operator()(const Engaging& step) const { return step.deadline; }
    std::optional<Time> operator()(const Starting& step) const { return step.deadline; }
    std::optional<Time> operator()(const Yielding& step) const { return step.deadline; }
  };
  if (const auto* serving = app.serving()) {
    if (serving->growing && serving->restart_due) return std::min(*serving->growing, *serving->restart_due);
    return serving->growing ? serving->growing : serving->restart_due;
  }
  const auto* moving = app.moving();
  return moving != nullptr ? std::visit(At{state, app}, moving->move.step) : std::nullopt;
}

}  // namespace understudy::core

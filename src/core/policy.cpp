// Restraint: what could be done and is not, or only for somebody more important.
#include "base/counted.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace understudy::core {

namespace {

// Says how to end it, because who reads this waits for it.
std::string in_maintenance(const std::string& name) {
  return name + " is in maintenance (`understudy maintenance " + name + " --end` ends it)";
}

bool under(const std::optional<Time>& until, Time now) {
  return until && now < *until;
}

// Begun, begun anew, or ended by the operator.
void set_maintenance(std::optional<Time>& until, Step& step, Duration lasts, const std::string& name,
                     std::optional<GuestId> guest, std::optional<AppId> app) {
  if (lasts > Duration{}) {
    until = step.now + lasts;
    step.note(Severity::warning, "maintenance-begun",
              name + " is in maintenance for " + format_duration(lasts) + ": its faults move nothing", guest,
              app);
  } else if (std::exchange(until, std::nullopt)) {
    step.note(Severity::info, "maintenance-ended", name + " is no longer in maintenance", guest, app);
  }
}

void expire(std::optional<Time>& until, Step& step, const std::string& name, std::optional<GuestId> guest,
            std::optional<AppId> app) {
  if (!until || step.now < *until) return;
  until.reset();
  step.note(Severity::warning, "maintenance-expired",
            name + "'s maintenance is over, its time is up: faults are handled again", guest, app);
}

}  // namespace

void handle(Step& step, const event::Maintenance& event) {
  if (event.guest) {
    set_maintenance(step.state.guest(*event.guest).maintenance_until, step, event.lasts,
                    step.state.name(*event.guest), event.guest, std::nullopt);
  }
  if (event.app) {
    set_maintenance(step.state.app(*event.app).maintenance_until, step, event.lasts,
                    step.state.name(*event.app), std::nullopt, event.app);
  }
}

void end_maintenance(Step& step) {
  for (Guest& guest : step.state.guests)
    expire(guest.maintenance_until, step, step.state.name(guest.id), guest.id, std::nullopt);
  for (Application& app : step.state.apps)
    expire(app.maintenance_until, step, step.state.name(app.id), std::nullopt, app.id);
}

std::string hands_off(const State& state, const Application& app) {
  const auto* moving = app.moving();
  // A switchover is an order: whoever takes an application off a guest in order to work on it has often put
  // that guest into maintenance first, and must not be left with the application stopped.
  if (moving != nullptr && moving->move.preferred) return "";
  if (under(app.maintenance_until, state.now)) return in_maintenance(state.name(app.id));
  std::optional<GuestId> at;
  if (const auto* serving = app.serving()) at = serving->on.guest;
  if (moving != nullptr) at = moving->move.from;
  return at ? hands_off(state, state.guest(*at)) : "";
}

std::string hands_off(const State& state, const Guest& guest) {
  return under(guest.maintenance_until, state.now) ? in_maintenance(state.name(guest.id)) : "";
}

std::string why_not_stop(const State& state, const Application& app) {
  struct Why {
    const Application& app;
    std::string operator()(const app_state::Idle&) const { return "it does not run"; }
    std::string operator()(const app_state::Failed& failed) const {
      if (app.suspicion) return "";  // it would come back by itself
      return failed.by_order() ? "it is stopped already" : "it was given up, and does not run: " + failed.why;
    }
    std::string operator()(const app_state::Serving& serving) const {
      return serving.growing ? "it is just getting more memory; ask again" : "";
    }
    std::string operator()(const app_state::Moving&) const {
      const bool half_way =
          app.in_step<move_step::Sizing>() != nullptr || app.in_step<move_step::Plugging>() != nullptr ||
          app.in_step<move_step::Engaging>() != nullptr || app.in_step<move_step::Resuming>() != nullptr;
      return half_way ? "its memory is just on its way; ask again" : "";
    }
  };
  if (state.is_twin(app.id)) return "it is a rehearsal";
  if (!state.journal_trouble.empty()) return state.journal_trouble;
  return std::visit(Why{app}, app.state);
}

bool is_arriving(const Application& app) {
  return app.in_step<move_step::Sizing>() != nullptr || app.in_step<move_step::Plugging>() != nullptr ||
         app.in_step<move_step::Engaging>() != nullptr || app.in_step<move_step::Starting>() != nullptr;
}

void preempt(Step& step, Application& app) {
  const AppSetup& setup = step.state.setup.app(app.id);
  if (!setup.preempts) return;
  // One at a time: whoever yields already is waited for. Who is about to serve is, too: it may be the one
  // that matters least, and who makes room must not depend on who was faster.
  for (const Application& other : step.state.apps) {
    if (other.moving() == nullptr || step.state.is_twin(other.id)) continue;
    if (other.moving()->move.yields && other.place()) return;
    if (is_arriving(other) && step.state.setup.app(other.id).priority < setup.priority) return;
  }
  // Would somebody then take it? Memory is not all that may be missing.
  const auto helps = [&](const Gain& gain) {
    const std::size_t candidates = setup.hot_standby ? setup.guests.size() : 1;
    return std::any_of(setup.guests.begin(), setup.guests.begin() + static_cast<std::ptrdiff_t>(candidates),
                       [&](GuestId id) {
                         const Guest& guest = step.state.guest(id);
                         return why_not_after(step.state, app, guest, &gain).empty() &&
                                keeps_off(step.state, app, guest).empty();
                       });
  };
  Application* victim = nullptr;
  for (Application& other : step.state.apps) {
    const auto* serving = other.serving();
    const int priority = step.state.setup.app(other.id).priority;
    if (serving == nullptr || serving->growing || priority >= setup.priority) continue;
    if (!hands_off(step.state, other).empty() || under(other.yields_from, step.now)) continue;
    if (!helps({other.id, serving->on})) continue;
    if (victim == nullptr || priority < step.state.setup.app(victim->id).priority) victim = &other;
  }
  if (victim == nullptr) return;
  const GuestRun from = victim->serving()->on;
  step.out.withdraw.push_back({victim->id});
  Move& move = begin_move(step, *victim, "its memory goes to " + setup.name + ", which is more important",
                          from.guest, step.now, move_step::Choosing{});
  move.yields = true;
  move.planned = true;
  enter_stopping(step, *victim, from);
}

std::optional<Time> maintenance_end(const State& state) {
  std::optional<Time> first;
  const auto take = [&](const std::optional<Time>& until) {
    if (under(until, state.now) && (!first || *until < *first)) first = until;
  };
  for (const Guest& guest : state.guests) take(guest.maintenance_until);
  for (const Application& app : state.apps) take(app.maintenance_until);
  return first;
}

}  // namespace understudy::core

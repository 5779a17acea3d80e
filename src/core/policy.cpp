// Restraint: what could be done and is not, or only for somebody more important.
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

bool under(const std::optional<Time>& until, Time now) {
  return until && now < *until;
}

}  // namespace

void handle(Step& step, const event::Maintenance& event) {
  const std::optional<Time> until =
      event.lasts > Duration{} ? std::optional(step.now + event.lasts) : std::nullopt;
  const std::string text =
      until ? " is in maintenance for " + format_duration(event.lasts) + ": its faults move nothing"
            : " is no longer in maintenance";
  if (event.guest) {
    step.state.guest(*event.guest).maintenance_until = until;
    step.note(Severity::info, "maintenance", step.state.name(*event.guest) + text, event.guest);
  }
  if (event.app) {
    step.state.app(*event.app).maintenance_until = until;
    step.note(Severity::info, "maintenance", step.state.name(*event.app) + text, std::nullopt, event.app);
  }
}

std::string hands_off(const State& state, const Application& app) {
  if (under(app.maintenance_until, state.now)) return state.name(app.id) + " is in maintenance";
  const auto* moving = app.moving();
  if (moving != nullptr && moving->move.from &&
      under(state.guest(*moving->move.from).maintenance_until, state.now)) {
    return state.name(*moving->move.from) + " is in maintenance";
  }
  return "";
}

void count_takeover(Step& step, Application& app) {
  const AppSetup& setup = step.state.setup.app(app.id);
  if (setup.flap_takeovers == 0 || !app.wanted) return;
  std::erase_if(app.takeovers, [&](Time at) { return step.now - at > setup.flap_window; });
  app.takeovers.push_back(step.now);
  if (app.takeovers.size() <= setup.flap_takeovers) return;
  app.takeovers.clear();
  app.moving()->move.give_up = "more than " + std::to_string(setup.flap_takeovers) + " takeovers within " +
                               format_duration(setup.flap_window) +
                               "; find the reason, then `understudy start " + setup.name + "`";
}

void preempt(Step& step, Application& app) {
  const AppSetup& setup = step.state.setup.app(app.id);
  if (!setup.preempts) return;
  // One at a time: whoever yields already is waited for.
  for (const Application& other : step.state.apps) {
    if (other.moving() != nullptr && other.moving()->move.yields && other.place()) return;
  }
  // Would somebody then take it? Memory is not all that may be missing.
  const auto helps = [&](const Gain& gain) {
    const std::size_t candidates = setup.hot_standby ? setup.guests.size() : 1;
    return std::any_of(
        setup.guests.begin(), setup.guests.begin() + static_cast<std::ptrdiff_t>(candidates),
        [&](GuestId id) { return why_not_after(step.state, app, step.state.guest(id), &gain).empty(); });
  };
  Application* victim = nullptr;
  for (Application& other : step.state.apps) {
    const auto* serving = other.serving();
    const int priority = step.state.setup.app(other.id).priority;
    if (serving == nullptr || serving->growing || priority >= setup.priority) continue;
    if (!helps({other.id, serving->on})) continue;
    if (victim == nullptr || priority < step.state.setup.app(victim->id).priority) victim = &other;
  }
  if (victim == nullptr) return;
  const GuestRun from = victim->serving()->on;
  step.out.withdraw.push_back({victim->id});
  Move& move = begin_move(step, *victim, "its memory goes to " + setup.name + ", which is more important",
                          from.guest, step.now, move_step::Choosing{});
  move.yields = true;
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

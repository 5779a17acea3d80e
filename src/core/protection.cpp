// What the operator is told of the next failure: whether it would be survived, by whom, how soon; and the
// events when that changes.
#include "core/state.hpp"
#include "core/view.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace understudy::core {

namespace {

// "1 takeover", "3 takeovers: 388 to 681 ms"
std::string seen_before(const Measured& placing, Duration clearing) {
  if (placing.count() == 1) return "1 takeover";
  const auto ms = [clearing](Duration time) { return std::to_string(std::llround(to_ms(time + clearing))); };
  return std::to_string(placing.count()) + " takeovers: " + ms(placing.shortest()) + " to " +
         ms(placing.longest()) + " ms";
}

}  // namespace

std::optional<Prediction> predicted_takeover(const State& state, const Application& app) {
  const Duration clearing = state.clearing.median().value_or(Duration{});
  if (const auto placing = app.placing.median()) {
    return Prediction{*placing + clearing, seen_before(app.placing, clearing)};
  }
  if (app.rehearsed) return Prediction{*app.rehearsed + clearing, "a rehearsal"};
  return std::nullopt;
}

namespace {

// The first guest in its list that is up and not where it is.
std::optional<GuestId> standby_of(const State& state, const Application& app, GuestId active) {
  for (const GuestId id : state.setup.app(app.id).guests) {
    if (id != active && state.guest(id).believed_up()) return id;
  }
  return std::nullopt;
}

// Why it would not be taken over, of which `fate` is what came of trying.
std::string why_unprotected(const State& state, const Application& app, const Forecast::Fate& fate,
                            GuestId active) {
  if (const std::string why = hands_off(state, app); !why.empty()) return why;
  if (!state.journal_trouble.empty()) return state.journal_trouble;
  std::string nobody;
  const bool by_itself = ready_standby(state, app, nobody).has_value();
  if (!by_itself && !nobody.empty()) return nobody;
  return "if " + state.name(active) + " fails: " + fate.why_not;
}

}  // namespace

Protection protection(const State& state, const Application& app) {
  Protection result;
  if (!state.setup.app(app.id).hot_standby) {
    result.why = "it is not a hot standby job";
    result.would_be_given_up = true;
    return result;
  }
  const auto* serving = app.serving();
  if (serving == nullptr) {
    result.why = app_trouble(app);
    return result;
  }
  const GuestId active = serving->on.guest;
  result.standby = standby_of(state, app, active);
  if (!serving->unreachable.empty()) {
    result.why = app_trouble(app);
    return result;
  }
  if (serving->unconfirmed) {
    result.why = "whether it still runs is being asked since the daemon's restart";
    return result;
  }
  if (!state.guest(active).believed_up()) {
    result.why = state.name(active) + " has failed";
    return result;
  }
  const Forecast::Fate* fate = forecast(state, active).of(app.id);
  if (fate->on) {
    result.standby = fate->on;
    result.is_protected = true;
    return result;
  }
  result.would_be_given_up = fate->given_up;
  result.why = why_unprotected(state, app, *fate, active);
  return result;
}

namespace {

// A step that tells of changes does not look at more guests than this; the others follow in the next ones.
constexpr std::size_t kGuestsPerStep = 4;
// Memory that guests have free changes with every heartbeat. Looked at again for its sake this often.
constexpr Duration kLookAgain = std::chrono::seconds(1);

bool somebody_is_placed(const State& state) {
  return std::any_of(state.apps.begin(), state.apps.end(), [&](const Application& app) {
    return !state.is_twin(app.id) && app.moving() != nullptr && app.in_step<move_step::Choosing>() == nullptr;
  });
}

void tell(Step& step, Application& app, const Protection& now) {
  const bool was = app.told_protected;
  app.told_protected = now.is_protected;
  if (was == now.is_protected) return;
  const std::string& name = step.state.name(app.id);
  if (now.is_protected) {
    step.note(Severity::info, "protection-back",
              name + " is protected: " + step.state.name(*now.standby) + " would take it over", now.standby,
              app.id);
  } else {
    step.note(Severity::warning, "protection-lost", name + " is no longer protected: " + now.why,
              std::nullopt, app.id);
  }
}

}  // namespace

void tell_protection(Step& step, bool changed) {
  State& state = step.state;
  if (changed || step.now - state.looked_at_protection >= kLookAgain) {
    state.looked_at_protection = step.now;
    for (Guest& guest : state.guests) guest.protection_due = true;
  }
  for (Application& app : state.apps) {
    if (state.is_twin(app.id) || !state.setup.app(app.id).hot_standby || !app.wanted) {
      app.told_protected = false;  // its operator stopped it: that is no loss
    } else if (app.serving() == nullptr) {
      tell(step, app, protection(state, app));
    }
  }
  // While a takeover is under way nobody is kept waiting by a look at the next one.
  if (somebody_is_placed(state)) return;
  std::size_t looks = 0;
  for (Guest& guest : state.guests) {
    if (!guest.protection_due) continue;
    if (++looks > kGuestsPerStep) return;
    guest.protection_due = false;
    for (Application& app : state.apps) {
      const auto* serving = app.serving();
      const bool here = serving != nullptr && serving->on.guest == guest.id;
      if (here && app.wanted && state.setup.app(app.id).hot_standby) tell(step, app, protection(state, app));
    }
  }
}

}  // namespace understudy::core

// Who has been moved so often lately that moving mends nothing, and is given up. A guest that fails takes
// everybody in it along and does not say whose fault it was. So of those that reach their limit by failures
// of guests that they shared, one at a time is given up: if guests go on failing without it, it comes back.
// docs/decisions/2026-11-26-one-suspect-at-a-time.md.
#include "base/counted.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

bool is_among(const std::vector<AppId>& apps, AppId id) {
  return std::find(apps.begin(), apps.end(), id) != apps.end();
}

std::string names_of(const State& state, const std::vector<AppId>& apps) {
  std::string names;
  for (const AppId id : apps) names += (names.empty() ? "" : ", ") + state.name(id);
  return names;
}

// False: it has no limit, or not reached it.
bool one_more(const Step& step, Application& app, bool shared) {
  const AppSetup& setup = step.state.setup.app(app.id);
  if (setup.flap_takeovers == 0 || !app.wanted) return false;
  std::erase_if(app.takeovers, [&](const Takeover& one) { return step.now - one.at > setup.flap_window; });
  app.takeovers.push_back({step.now, shared});
  if (shared) ++app.lost_with_others;
  return app.takeovers.size() > setup.flap_takeovers;
}

std::string limit_text(const AppSetup& setup) {
  return "more than " + counted(setup.flap_takeovers, "takeover") + " within " +
         format_duration(setup.flap_window);
}

void give_up(Step& step, Application& app) {
  const AppSetup& setup = step.state.setup.app(app.id);
  app.takeovers.clear();
  app.moving()->move.give_up =
      limit_text(setup) + "; find the reason, then `understudy start " + setup.name + "`";
}

void give_up_as_suspect(Step& step, Application& app, std::vector<AppId> others) {
  const AppSetup& setup = step.state.setup.app(app.id);
  const std::string names = names_of(step.state, others);
  app.takeovers.clear();
  app.suspicion = Suspicion{std::move(others), step.now, std::nullopt};
  app.moving()->move.give_up = limit_text(setup) + ". Whose fault it was is not known: " + names +
                               " failed with it in the last one. It comes back by itself if guests go on "
                               "failing without it; else find the reason, then `understudy start " +
                               setup.name + "`";
}

// The first to be given up of those that may all be it: who has lost the most guests that it shared, then
// who matters least, then the last in the file.
Application* most_suspected(State& state, const std::vector<AppId>& apps) {
  Application* most = nullptr;
  for (const AppId id : apps) {
    Application& app = state.app(id);
    if (most != nullptr) {
      const int priority = state.setup.app(id).priority;
      const int other = state.setup.app(most->id).priority;
      if (app.lost_with_others < most->lost_with_others) continue;
      if (app.lost_with_others == most->lost_with_others && priority > other) continue;
    }
    most = &app;
  }
  return most;
}

bool has_failed_alone(const State& state, AppId id) {
  const Application& app = state.app(id);
  return app.failed_alone && state.now - *app.failed_alone <= state.setup.app(id).flap_window;
}

// It was given up lately because it might have been its fault, or waits to see whether that is so.
bool is_in_doubt(const State& state, const Application& app) {
  if (!app.suspicion) return false;
  return app.suspicion->held_until || state.now - app.suspicion->since <= state.setup.app(app.id).flap_window;
}

// Wanted again, from wherever giving it up has come to by now.
void want_again(Step& step, Application& app, const std::string& cause) {
  if (auto* moving = app.moving()) {
    moving->move.give_up.clear();
  } else {
    start(step, app, cause);
  }
}

void take_back(Step& step, Application& app, AppId guilty) {
  const std::string& name = step.state.name(guilty);
  step.note(Severity::info, "app-taken-back",
            step.state.name(app.id) + " comes back: it was not its fault alone, " + name +
                "'s guest has failed with nothing but " + name + " in it",
            std::nullopt, app.id);
  app.suspicion.reset();
  want_again(step, app, "guests failed without it");
}

// It was not, or not alone, its fault. While it goes on, nobody is served by one more guest that fails.
void hold_back(Step& step, Application& app) {
  const Duration window = step.state.setup.app(app.id).flap_window;
  Suspicion suspicion = *app.suspicion;
  const bool first = !suspicion.held_until;
  suspicion.held_until = step.now + window;
  if (first) {
    step.note(Severity::warning, "app-taken-back",
              step.state.name(app.id) +
                  " is wanted again, because a guest has failed without it; it is "
                  "started when none of " +
                  names_of(step.state, suspicion.others) + " has lost a guest for " + format_duration(window),
              std::nullopt, app.id);
    want_again(step, app, "guests failed without it");
  }
  app.suspicion = std::move(suspicion);
}

// Those that might have been it, and were not in the guest that has failed now. `at_the_limit`: somebody is
// given up for it; then it does not matter how long it was quiet.
void look_at_those_given_up(Step& step, const std::vector<AppId>& tenants, bool at_the_limit) {
  for (Application& app : step.state.apps) {
    if (!app.suspicion || is_among(tenants, app.id)) continue;
    if (!at_the_limit && !is_in_doubt(step.state, app)) continue;
    const std::vector<AppId>& others = app.suspicion->others;
    const bool theirs =
        std::any_of(tenants.begin(), tenants.end(), [&](AppId id) { return is_among(others, id); });
    if (!theirs) continue;
    if (tenants.size() == 1) {
      take_back(step, app, tenants.front());
    } else {
      hold_back(step, app);
    }
  }
}

// True: one of them is given up.
bool count_as_their_own(Step& step, const std::vector<AppId>& apps) {
  bool too_many = false;
  for (const AppId id : apps) too_many = count_own_takeover(step, step.state.app(id)) || too_many;
  return too_many;
}

// True: one of them is given up.
bool count_as_anybodys(Step& step, const Tenants& tenants, std::vector<AppId> charged) {
  std::erase_if(charged, [&](AppId id) { return !one_more(step, step.state.app(id), true); });
  Application* suspect = most_suspected(step.state, charged);
  if (suspect == nullptr) return false;
  std::vector<AppId> others = tenants.all;
  std::erase(others, suspect->id);
  give_up_as_suspect(step, *suspect, std::move(others));
  return true;
}

}  // namespace

bool count_own_takeover(Step& step, Application& app) {
  const bool too_many = one_more(step, app, false);
  if (too_many) give_up(step, app);
  return too_many;
}

Tenants tenants_of(const State& state, GuestRun run) {
  Tenants tenants;
  for (const Application& app : state.apps) {
    if (app.place() != run) continue;
    const AppId id = state.setup.app(app.id).rehearses.value_or(app.id);
    if (!is_among(tenants.all, id)) tenants.all.push_back(id);
    if (state.is_twin(app.id)) continue;
    if (app.serving() != nullptr) tenants.served.push_back(id);
    if (is_arriving(app) && !app.moving()->move.planned) tenants.arriving.push_back(id);
  }
  return tenants;
}

void count_lost_guest(Step& step, const Tenants& tenants, std::optional<AppId> ended_for) {
  const std::vector<AppId>& all = tenants.all;
  if (all.empty()) return;
  // Who arrives has its own restraint (Application::avoid), unless it costs others their guest.
  std::vector<AppId> charged = tenants.served;
  if (!charged.empty()) charged.insert(charged.end(), tenants.arriving.begin(), tenants.arriving.end());
  const auto fails_alone = [&](AppId id) { return has_failed_alone(step.state, id); };
  if (ended_for) {
    std::erase_if(charged, [&](AppId id) { return id != *ended_for; });
    count_as_their_own(step, charged);
    return;
  }
  bool too_many = false;
  if (all.size() == 1) {
    step.state.app(all.front()).failed_alone = step.now;
    too_many = count_as_their_own(step, charged);
  } else if (std::any_of(all.begin(), all.end(), fails_alone)) {
    std::erase_if(charged, [&](AppId id) { return !fails_alone(id); });
    count_as_their_own(step, charged);
    return;
  } else {
    too_many = count_as_anybodys(step, tenants, std::move(charged));
  }
  look_at_those_given_up(step, all, too_many);
}

bool is_held_back(const State& state, const Application& app) {
  return app.suspicion && app.suspicion->held_until && state.now < *app.suspicion->held_until;
}

std::string why_held_back(const State& state, const Application& app) {
  if (!is_held_back(state, app)) return "";
  return "guests failed with it and without it; it is started when none of " +
         names_of(state, app.suspicion->others) + " has lost a guest for " +
         format_duration(state.setup.app(app.id).flap_window) + " (`understudy start " + state.name(app.id) +
         "` starts it at once)";
}

}  // namespace understudy::core

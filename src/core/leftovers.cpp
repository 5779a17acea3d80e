// What a guest has kept of an application that is not there any more: it did not let go of it in time, and
// was not ended for it, because policy said so or because others serve there. It is asked again and again, at
// leisure, so that the memory does not stay away until that guest is restarted for another reason. While it
// is being asked, the application is not placed there: its agent would take offline what it is to bring
// online.
#include "core/state.hpp"

#include <algorithm>

namespace understudy::core {

namespace {

constexpr Duration kPause = std::chrono::seconds(30);

std::vector<AreaId> kept_of(const State& state, const Application& app, GuestRun run) {
  if (app.place() == run) return {};
  std::vector<AreaId> areas = state.table.in_use_by(app.id, run);
  std::erase_if(areas, [&](AreaId id) {
    const AreaState is = state.table.area(id).state;
    return is == AreaState::plugging || is == AreaState::unplugging;
  });
  return areas;
}

bool can_be_asked(const Guest& guest) {
  return guest.ready() != nullptr && guest.wanted && !guest.adopted && !guest.unsettled;
}

void ask(Step& step, Guest& guest, const Application& app, std::vector<AreaId> areas) {
  const Duration limit = step.state.setup.app(app.id).release_limit;
  for (const AreaId id : areas) {
    if (step.state.table.area(id).state != AreaState::releasing) step.state.table.begin_release(id);
  }
  step.out.release.push_back({guest.current(), app.id, app.epoch, std::move(areas), limit});
  guest.leftovers[app.id] = {true, step.now + limit + kAnswerGrace};
}

}  // namespace

void found_leftovers(Step& step, Guest& guest) {
  for (const Application& app : step.state.apps) {
    if (kept_of(step.state, app, guest.current()).empty()) continue;
    guest.leftovers[app.id] = {true, step.now + step.state.setup.app(app.id).release_limit + kAnswerGrace};
  }
}

void advance_leftovers(Step& step, Guest& guest) {
  if (!can_be_asked(guest)) return;
  for (const Application& app : step.state.apps) {
    std::vector<AreaId> areas = kept_of(step.state, app, guest.current());
    const auto found = guest.leftovers.find(app.id);
    if (areas.empty()) {
      if (found != guest.leftovers.end()) guest.leftovers.erase(found);
    } else if (found == guest.leftovers.end()) {
      guest.leftovers[app.id] = {false, step.now + kPause};
    } else if (step.now >= found->second.due) {
      if (found->second.asked) {
        found->second = {false, step.now + kPause};  // no answer came
      } else if (step.state.journal_trouble.empty()) {
        ask(step, guest, app, std::move(areas));
      } else {
        found->second.due = step.now + kPause;
      }
    }
  }
}

std::optional<Time> leftovers_deadline(const Guest& guest) {
  std::optional<Time> first;
  if (!can_be_asked(guest)) return first;
  for (const auto& [app, left] : guest.leftovers) {
    if (!first || left.due < *first) first = left.due;
  }
  return first;
}

void leftover_released(Step& step, const event::AreasReleased& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || !is_being_let_go_of(*guest, event.app)) return;
  guest->leftovers[event.app] = {false, step.now + kPause};
  guest->unprepared = true;
  for (const AreaId id : event.areas) {
    if (!step.state.table.knows(id)) continue;
    const Area& area = step.state.table.area(id);
    if (area.state != AreaState::releasing || area.user != event.app || area.in != event.run) continue;
    step.state.table.begin_unplug(id);
    step.out.unplug.push_back({event.run, id});
  }
}

bool is_being_let_go_of(const Guest& guest, AppId app) {
  const auto found = guest.leftovers.find(app);
  return found != guest.leftovers.end() && found->second.asked;
}

}  // namespace understudy::core

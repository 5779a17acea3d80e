// Standbys read in what an application is started from, so that a start finds it in memory: when a guest is
// up, and again when it has let go of memory, because an agent drops the page cache for that (measured: Redis
// then took 700 ms to start instead of 390).
#include "core/state.hpp"

#include <algorithm>

namespace understudy::core {

namespace {

// Nobody's start waits for a processor that reads files for the next one. Who waits for a place, or does not
// end, may do so for ever and needs none.
bool somebody_is_under_way(const State& state) {
  return std::any_of(state.apps.begin(), state.apps.end(), [](const Application& app) {
    const auto* stopping = app.in_step<move_step::Stopping>();
    const bool waits =
        app.in_step<move_step::Choosing>() != nullptr || (stopping != nullptr && stopping->overdue);
    return app.moving() != nullptr && !waits;
  });
}

}  // namespace

void prepare(Step& step, Guest& guest) {
  guest.unprepared = false;
  for (const Application& app : step.state.apps) {
    const AppSetup& setup = step.state.setup.app(app.id);
    const bool listed = std::count(setup.guests.begin(), setup.guests.end(), guest.id) > 0;
    const bool here = app.serving() != nullptr && app.serving()->on == guest.current();
    if (setup.hot_standby && listed && !here) step.out.prepare.push_back({guest.current(), app.id});
  }
}

void prepare_again(Step& step) {
  for (Guest& guest : step.state.guests) {
    if (!guest.unprepared || guest.ready() == nullptr) continue;
    if (somebody_is_under_way(step.state)) return;
    prepare(step, guest);
  }
}

}  // namespace understudy::core

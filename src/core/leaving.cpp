// How an application and its areas leave a guest: politely from a living OS (stop, release, unplug), or by
// the guest being verified stopped. Only when nothing of it is left there does it go on to another.
#include "base/check.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

using namespace move_step;

// Beyond the limits that the agent itself was given: its answer may be on its way.
constexpr Duration kAnswerGrace = std::chrono::seconds(2);

template <class Wanted, class Answer>
Application* expect(Step& step, const Answer& answer) {
  Application& app = step.state.app(answer.app);
  const auto* at = app.template in_step<Wanted>();
  return at != nullptr && at->from == answer.run && app.epoch == answer.epoch ? &app : nullptr;
}

// With on_release_limit = take-part: would it reach its minimum without what its guest keeps?
bool part_suffices(Step& step, const Application& app) {
  const AppSetup& setup = step.state.setup.app(app.id);
  if (setup.on_release_limit != OnReleaseLimit::take_part || !setup.hot_standby) return false;
  std::size_t areas = areas_for(step.state, app).size();
  for (const Area& area : step.state.table.areas()) {
    areas += area.user == app.id && area.state == AreaState::unplugging ? 1 : 0;
  }
  return areas * usable_bytes(step.state.setup.pool.area_bytes) >= setup.minimum_bytes;
}

// Done when nothing is left in the guest, or nothing but what it keeps.
void finish_release_if_done(Step& step, Application& app) {
  const auto* releasing = app.in_step<Releasing>();
  if (releasing == nullptr) return;
  for (const AreaId id : step.state.table.in_use_by(app.id, releasing->from)) {
    const bool kept = releasing->take_part && step.state.table.area(id).state == AreaState::releasing;
    if (!kept) return;
  }
  release_finished(step, app);
}

}  // namespace

std::optional<GuestRun> Application::place() const {
  struct Where {
    std::optional<GuestRun> operator()(const Stopping& s) const { return s.from; }
    std::optional<GuestRun> operator()(const Releasing& s) const { return s.from; }
    std::optional<GuestRun> operator()(const Fencing& s) const { return s.from; }
    std::optional<GuestRun> operator()(const Resuming& s) const { return s.in; }
    std::optional<GuestRun> operator()(const Choosing&) const { return std::nullopt; }
    std::optional<GuestRun> operator()(const Sizing& s) const { return s.to; }
    std::optional<GuestRun> operator()(const Plugging& s) const { return s.to; }
    std::optional<GuestRun> operator()(const Engaging& s) const { return s.to; }
    std::optional<GuestRun> operator()(const Starting& s) const { return s.to; }
    std::optional<GuestRun> operator()(const Yielding& s) const { return s.in; }
  };
  if (const auto* s = serving()) return s->on;
  if (const auto* m = moving()) return std::visit(Where{}, m->move.step);
  return std::nullopt;
}

AppRecord Application::record() const {
  AppRecord record;
  record.app = id;
  record.epoch = epoch;
  record.in = place();
  if (serving() != nullptr) record.state = AppDurable::serving;
  if (const auto* failed = std::get_if<app_state::Failed>(&state)) {
    record.state = AppDurable::failed;
    record.cause = failed->why;
  }
  if (const auto* m = moving()) {
    record.cause = m->move.cause;
    record.from = m->move.from;
    record.to = m->move.preferred;
    record.give_up = m->move.give_up;
    const auto* resuming = in_step<Resuming>();
    const bool leaves = in_step<Stopping>() != nullptr || in_step<Releasing>() != nullptr ||
                        in_step<Fencing>() != nullptr || in_step<Yielding>() != nullptr ||
                        (resuming != nullptr && resuming->leaving);
    record.state = in_step<Choosing>() != nullptr ? AppDurable::waiting
                   : leaves                       ? AppDurable::leaving
                                                  : AppDurable::moving;
  }
  return record;
}

void enter_stopping(Step& step, Application& app, GuestRun from) {
  const AppSetup& setup = step.state.setup.app(app.id);
  if (step.state.guest(from.guest).adopted) {
    // Since the daemon's restart its agent has not been heard, or has not said yet what runs there.
    app.moving()->move.step = Resuming{from, true};
    return;
  }
  app.moving()->move.step = Stopping{from, step.now + setup.stop_limit + kAnswerGrace};
  step.out.stop.push_back({from, app.id, app.epoch});
}

void enter_releasing(Step& step, Application& app, GuestRun from) {
  const AppSetup& setup = step.state.setup.app(app.id);
  app.moving()->move.step = Releasing{from, step.now + setup.release_limit + kAnswerGrace};
  std::vector<AreaId> areas = step.state.table.in_use_by(app.id, from);
  if (areas.empty()) {
    release_finished(step, app);
    return;
  }
  for (const AreaId id : areas) {
    const AreaState state = step.state.table.area(id).state;
    if (state == AreaState::plugging) {
      // Nobody can let go of what is still on its way in.
      condemn(step, step.state.guest(from.guest),
              step.state.name(from.guest) + " is left while areas are on their way into it", step.now);
      return;
    }
    if (state == AreaState::plugged || state == AreaState::engaged) step.state.table.begin_release(id);
  }
  std::erase_if(areas, [&](AreaId id) { return step.state.table.area(id).state == AreaState::unplugging; });
  if (!areas.empty()) step.out.release.push_back({from, app.id, app.epoch, areas, setup.release_limit});
}

void enter_fencing(Step& step, Application& app, GuestRun from) {
  (void)step;
  app.moving()->move.step = Fencing{from};
}

void guest_stopped(Step& step, Application& app, GuestRun run) {
  const auto* fencing = app.in_step<Fencing>();
  if (fencing != nullptr && fencing->from == run) {
    Move& move = app.moving()->move;
    move.lap(Phase::fence, step.now);
    if (!step.state.is_twin(app.id)) step.state.clearing.add(move.report.total());
    enter_choosing(step, app);
  } else if (app.moving() == nullptr) {
    // What this guest had kept of an application that went on without it, or that is stopped.
    for (const AreaId id : step.state.table.held_by(app.id)) step.state.table.free(id);
  }
}

void release_finished(Step& step, Application& app) {
  app.moving()->move.lap(Phase::detach, step.now);
  enter_choosing(step, app);
}

void handle(Step& step, const event::AppStopped& event) {
  Application* app = expect<Stopping>(step, event);
  if (app == nullptr) return;
  if (step.state.is_twin(app->id)) return rehearsal_stopped(step, *app, event.run);
  if (!app->wanted) {
    // It goes down with its guest, which gives its areas back when it is stopped.
    app->state = app_state::Idle{};
    return;
  }
  enter_releasing(step, *app, event.run);
}

void handle(Step& step, const event::StopFailed& event) {
  Application* app = expect<Stopping>(step, event);
  if (app == nullptr) return;
  condemn(step, step.state.guest(event.run.guest),
          step.state.name(event.run.guest) + " could not end " + step.state.name(app->id) + " (" + event.why +
              ")",
          step.now);
}

void handle(Step& step, const event::AreasReleased& event) {
  Application* app = expect<Releasing>(step, event);
  if (app == nullptr) return;
  for (const AreaId id : event.areas) {
    if (!step.state.table.knows(id)) continue;
    const Area& area = step.state.table.area(id);
    if (area.state != AreaState::releasing || area.user != event.app || area.in != event.run) continue;
    step.state.table.begin_unplug(id);
    step.out.unplug.push_back({event.run, id});
  }
  if (event.why_not_all.empty()) return;
  if (part_suffices(step, *app)) {
    app->in_step<Releasing>()->take_part = true;
    step.note(Severity::warning, "released-in-part",
              step.state.name(event.run.guest) + " keeps part of the memory of " + step.state.name(app->id) +
                  " until it is restarted: " + event.why_not_all,
              event.run.guest, app->id);
    finish_release_if_done(step, *app);
    return;
  }
  // The rest is still in a living OS. Only its end gives it back.
  condemn(step, step.state.guest(event.run.guest),
          step.state.name(event.run.guest) + " could not let go of the memory of " +
              step.state.name(app->id) + " (" + event.why_not_all + ")",
          step.now);
}

void handle(Step& step, const event::AreaUnplugged& event) {
  if (!step.state.table.knows(event.area)) return;
  const Area& area = step.state.table.area(event.area);
  if (area.state != AreaState::unplugging || area.in != event.run) return;
  step.state.table.unplugged(event.area);
  Application& app = step.state.app(*area.user);
  finish_release_if_done(step, app);
}

void handle(Step& step, const event::UnplugFailed& event) {
  if (!step.state.table.knows(event.area)) return;
  const Area& area = step.state.table.area(event.area);
  if (area.state != AreaState::unplugging || area.in != event.run) return;
  condemn(step, step.state.guest(event.run.guest),
          "area " + std::to_string(event.area.value) + " could not be unplugged from " +
              step.state.name(event.run.guest) + " (" + event.why + ")",
          step.now);
}

}  // namespace understudy::core

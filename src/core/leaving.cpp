// How an application and its areas leave a guest: politely from a living OS (stop, release, unplug), or by
// the guest being verified stopped. Only when nothing of it is left there does it go on to another.
#include "base/check.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace understudy::core {

namespace {

using namespace move_step;

// Until the areas that are on their way into the guest are in, or are not coming.
constexpr Duration kWayInLimit = std::chrono::seconds(20);
constexpr Duration kUnplugPause = std::chrono::milliseconds(500);
template <class Wanted, class Answer>
Application* leaving_in(Step& step, const Answer& answer) {
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
    const AreaState state = step.state.table.area(id).state;
    const bool kept = state == AreaState::releasing || state == AreaState::plugged;
    if (!releasing->take_part || !kept) return;
  }
  release_finished(step, app);
}

void unplug_later(const Step& step, Releasing& releasing, AreaId id) {
  auto found = std::find_if(releasing.again.begin(), releasing.again.end(),
                            [id](const AreaLater& later) { return later.area == id; });
  if (found == releasing.again.end()) found = releasing.again.insert(found, AreaLater{id, 0, {}});
  ++found->failures;
  found->at = step.now + kUnplugPause;
}

// How long one that could not give its memory up for a more important one is not asked again.
constexpr Duration kYieldsAgain = std::chrono::seconds(60);

// Nothing has failed that would be worth a guest on which others are.
bool by_plan_only(const State& state, const Application& app) {
  const Move& move = app.moving()->move;
  return state.is_twin(app.id) || (move.planned && !move.may_fence && app.wanted);
}

// A planned move, or a rehearsal, never costs others their guest, unless it was asked to: it is given up, and
// the application started again where it was, with what its guest has kept and what had left already. False:
// that is not so.
bool given_up_for_others(Step& step, Application& app, const std::string& why) {
  auto& releasing = *app.in_step<Releasing>();
  Move& move = app.moving()->move;
  const GuestRun from = releasing.from;
  const bool twin = step.state.is_twin(app.id);
  if (!by_plan_only(step.state, app)) return false;
  const std::string others = others_there(step.state, app, from);
  if (others.empty()) return false;
  if (twin) {
    // What it has left behind is asked for again at leisure.
    rehearsal_fails(app, why);
    releasing.take_part = true;
    finish_release_if_done(step, app);
    return true;
  }
  const std::string& guest = step.state.name(from.guest);
  if (move.from && *move.from != from.guest) {
    // Where it was to go, and did not arrive. It is asked for again at leisure.
    step.note(Severity::warning, "released-in-part",
              guest + " keeps part of the memory of " + step.state.name(app.id) + ": " + why + "; " + guest +
                  " is not ended for a planned move, because others are there (" + others + ")",
              from.guest, app.id);
    releasing.take_part = true;
    finish_release_if_done(step, app);
    return true;
  }
  const std::string order = move.yields ? ""
                                        : "; `understudy takeover " + step.state.name(app.id) +
                                              " --fence` moves it all the same, and ends " + guest;
  if (move.give_up.empty())  // who is to be stopped is stopped all the same, and leaves something behind
    step.note(Severity::warning, "switchover-given-up",
              step.state.name(app.id) + " stays on " + guest + ", where it is started again: " + why +
                  ", and " + guest + " is not ended for a planned move, because others are there (" + others +
                  ")" + order,
              from.guest, app.id);
  if (move.yields) app.yields_from = step.now + kYieldsAgain;
  move.yields = false;
  move.given_up = why;
  move.preferred = from.guest;
  releasing.take_part = true;
  finish_release_if_done(step, app);
  return true;
}

}  // namespace

std::string others_there(const State& state, const Application& app, GuestRun run) {
  std::string names;
  for (const Application& other : state.apps) {
    if (other.id == app.id || state.is_twin(other.id) || other.place() != run) continue;
    names += (names.empty() ? "" : ", ") + state.name(other.id);
  }
  return names;
}

std::optional<GuestRun> Application::place() const {
  struct Where {
    std::optional<GuestRun> operator()(const Stopping& s) const { return s.from; }
    std::optional<GuestRun> operator()(const Releasing& s) const { return s.from; }
    std::optional<GuestRun> operator()(const AwaitingFence& s) const { return s.from; }
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
                        in_step<AwaitingFence>() != nullptr || in_step<Yielding>() != nullptr ||
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

void enter_releasing(Step& step, Application& app, GuestRun from, bool engaging) {
  const AppSetup& setup = step.state.setup.app(app.id);
  app.moving()->move.step = Releasing{.from = from,
                                      .deadline = step.now + kWayInLimit + setup.release_limit + kAnswerGrace,
                                      .engaging = engaging};
  go_on_releasing(step, app);
}

void go_on_releasing(Step& step, Application& app) {
  auto& releasing = *app.in_step<Releasing>();
  if (releasing.asked) return;
  std::vector<AreaId> areas = step.state.table.in_use_by(app.id, releasing.from);
  if (areas.empty()) {
    release_finished(step, app);
    return;
  }
  // Nobody can let go of what is still on its way in.
  const bool on_its_way = std::any_of(areas.begin(), areas.end(), [&](AreaId id) {
    return step.state.table.area(id).state == AreaState::plugging;
  });
  if (on_its_way || releasing.engaging) return;
  const AppSetup& setup = step.state.setup.app(app.id);
  releasing.asked = true;
  releasing.deadline = step.now + setup.release_limit + kAnswerGrace;
  for (const AreaId id : areas) {
    const AreaState state = step.state.table.area(id).state;
    if (state == AreaState::plugged || state == AreaState::engaged) step.state.table.begin_release(id);
  }
  std::erase_if(areas, [&](AreaId id) { return step.state.table.area(id).state == AreaState::unplugging; });
  if (!areas.empty())
    step.out.release.push_back({releasing.from, app.id, app.epoch, areas, setup.release_limit});
}

Time releasing_due(const Releasing& releasing) {
  Time due = releasing.deadline;
  for (const AreaLater& later : releasing.again) {
    if (later.at) due = std::min(due, *later.at);
  }
  return due;
}

void advance_releasing(Step& step, Application& app) {
  auto& releasing = *app.in_step<Releasing>();
  for (AreaLater& later : releasing.again) {
    if (!later.at || step.now < *later.at) continue;
    later.at.reset();
    if (step.state.table.area(later.area).state != AreaState::releasing) continue;
    step.state.table.begin_unplug(later.area);
    step.out.unplug.push_back({releasing.from, later.area});
  }
  if (step.now < releasing.deadline) return;
  condemn_slow(step, GuestRun(releasing.from), "let go of the areas of " + step.state.name(app.id),
               releasing.asked ? step.state.setup.app(app.id).release_limit : kWayInLimit, app.id);
}

void enter_fencing(Step& step, Application& app, GuestRun from) {
  (void)step;
  app.moving()->move.step = AwaitingFence{from};
}

void guest_stopped(Step& step, Application& app, GuestRun run) {
  const auto* fencing = app.in_step<AwaitingFence>();
  if (fencing != nullptr && fencing->from == run) {
    Move& move = app.moving()->move;
    move.lap(Phase::fence, step.now);
    const auto& phases = move.report.phases;
    const bool just_failed = !move.before && move.report.attempts_in_vain == 0;
    if (!step.state.is_twin(app.id) && just_failed) {
      step.state.clearing.add(phases[static_cast<std::size_t>(Phase::detect)] +
                              phases[static_cast<std::size_t>(Phase::fence)]);
    }
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

// Whoever waits for the place of a rehearsal needs it more than the rehearsal's neighbours need theirs.
void does_not_end(Step& step, Application& app, const std::string& why) {
  auto& stopping = *app.in_step<Stopping>();
  const GuestRun from = stopping.from;
  const std::string others = others_there(step.state, app, from);
  const bool in_the_way =
      step.state.is_twin(app.id) &&
      std::any_of(step.state.apps.begin(), step.state.apps.end(), [](const Application& other) {
        const auto* choosing = other.in_step<Choosing>();
        return choosing != nullptr && choosing->for_rehearsal;
      });
  if (!by_plan_only(step.state, app) || others.empty() || in_the_way)
    return condemn(step, step.state.guest(from.guest), why, step.now, app.id);
  if (!std::exchange(stopping.overdue, true)) {
    const std::string& guest = step.state.name(from.guest);
    const std::string& name = step.state.name(app.id);
    const std::string order =
        step.state.is_twin(app.id) ? "" : "; `understudy takeover " + name + " --fence` ends " + guest;
    step.note(Severity::error, "stop-overdue",
              why + "; it serves nobody and is asked to end again and again, because " + guest +
                  " is not ended for a planned move while others are there (" + others + ")" + order,
              from.guest, app.id);
  }
  if (step.now < stopping.deadline) return;
  enter_stopping(step, app, from);
  if (auto* again = app.in_step<Stopping>()) again->overdue = true;
}

void handle(Step& step, const event::AppStopped& event) {
  Application* app = leaving_in<Stopping>(step, event);
  if (app == nullptr) return;
  if (step.state.is_twin(app->id)) return rehearsal_stopped(step, *app, event.run);
  if (!app->wanted) {
    // It goes down with its guest, which gives its areas back when it is stopped.
    app->state = app_state::Idle{};
    return;
  }
  enter_releasing(step, *app, event.run);
}

void handle(Step& step, const event::AreasReleased& event) {
  Application* app = leaving_in<Releasing>(step, event);
  if (app == nullptr) return leftover_released(step, event);
  step.state.guest(event.run.guest).unprepared = true;
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
  const Bytes area_bytes = step.state.setup.pool.area_bytes;
  const std::size_t in_all = step.state.table.in_use_by(app->id, event.run).size();
  const std::size_t left = in_all - std::min(in_all, event.areas.size());
  const std::string why = step.state.name(event.run.guest) + " could not let go of " +
                          format_size(left * area_bytes) + " of the " + format_size(in_all * area_bytes) +
                          " of " + step.state.name(app->id) + " (" + event.why_not_all + ")";
  if (given_up_for_others(step, *app, why)) return;
  condemn(step, step.state.guest(event.run.guest), why, step.now, app->id);
}

namespace {

// A guest that was asked before, and did not let go in time, has done so now. Else nobody asked it.
void say_lost(Step& step, Application& app, const event::AreaUnplugged& event, AreaState was) {
  const bool late = was == AreaState::releasing;
  step.note(Severity::warning, "area-lost",
            step.state.name(event.run.guest) + " has let go of area " + std::to_string(event.area.value) +
                " (" + format_size(step.state.setup.pool.area_bytes) + ") of " + step.state.name(app.id) +
                (late ? " after all" : " without being asked: its OS, or root in it, ejected the memory") +
                (late ? "" : do_without(step, app, event.run, was)),
            event.run.guest, app.id);
}

}  // namespace

void handle(Step& step, const event::AreaUnplugged& event) {
  if (!step.state.table.knows(event.area)) return;
  const Area& area = step.state.table.area(event.area);
  if (area.in != event.run || area.state == AreaState::plugging) return;
  Application& app = step.state.app(*area.user);
  const AreaState was = area.state;
  step.state.table.unplugged(event.area);
  if (was != AreaState::unplugging) say_lost(step, app, event, was);
  if (app.moving() == nullptr) step.state.table.free(event.area);
  finish_release_if_done(step, app);
}

void handle(Step& step, const event::UnplugFailed& event) {
  if (!step.state.table.knows(event.area)) return;
  const Area& area = step.state.table.area(event.area);
  if (area.state != AreaState::unplugging || area.in != event.run) return;
  Application& app = step.state.app(*area.user);
  step.state.table.unplug_failed(event.area);
  if (app.place() != event.run) return;  // it is left over there, and asked for again
  auto* releasing = app.in_step<Releasing>();
  if (!event.tried_in_guest) {
    // Nothing is wrong with the guest, which has let go of it: the host is asked again.
    if (releasing != nullptr) unplug_later(step, *releasing, event.area);
    return;
  }
  const std::string why = "area " + std::to_string(event.area.value) + " could not be unplugged from " +
                          step.state.name(event.run.guest) + " (" + event.why + ")";
  if (releasing != nullptr) {
    // It is offline there: if it stays, it is confirmed again like one that was plugged just now.
    step.state.table.keep(event.area);
    if (given_up_for_others(step, app, why)) return;
  }
  condemn(step, step.state.guest(event.run.guest), why, step.now, app.id);
}

}  // namespace understudy::core

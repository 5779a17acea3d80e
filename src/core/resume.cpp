// A daemon that was started again. The journal says who may own what; QEMU says which processes live and what
// is plugged into them; the agents say which applications run. What was under way is finished where that is
// certain (an application that already runs under its epoch serves). What is not certain leaves its guest,
// areas and all, by the way of a switchover, and is placed anew under a new epoch.
#include "base/check.hpp"
#include "core/core.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

using guest_state::Adopting;
using move_step::Resuming;

bool move_of_twin(const AppRecord& record) {
  return record.state == AppDurable::waiting || record.state == AppDurable::moving ||
         record.state == AppDurable::leaving;
}

struct Restore {
  State& state;

  Result<void> operator()(const GuestRecord& record) const {
    if (record.guest.value >= state.guests.size())
      return failure("the journal names a guest that the configuration has not");
    Guest& guest = state.guest(record.guest);
    guest.run = record.run;
    guest.wanted = record.wanted;
    if (record.state != GuestDurable::off) guest.state = Adopting{record.state, record.why};
    guest.adopted = record.state != GuestDurable::off;
    guest.journalled = guest.record();
    return {};
  }

  Result<void> operator()(const AreaRecord& record) const {
    if (!state.table.knows(record.area) || (record.user && record.user->value >= state.apps.size()) ||
        (record.in && record.in->guest.value >= state.guests.size())) {
      return failure("the journal names an area, application or guest that the configuration has not");
    }
    const bool inside = record.state != AreaState::unused && record.state != AreaState::held &&
                        record.state != AreaState::scrubbing;
    if (record.in.has_value() != inside || record.user.has_value() != (record.state != AreaState::unused)) {
      return failure("the journal contradicts itself about area " + std::to_string(record.area.value));
    }
    state.table.restore(record);
    return {};
  }

  Result<void> operator()(const AppRecord& record) const {
    const bool placed = record.state == AppDurable::moving || record.state == AppDurable::serving ||
                        record.state == AppDurable::leaving;
    if (record.app.value >= state.apps.size() ||
        (record.in && record.in->guest.value >= state.guests.size()) || record.in.has_value() != placed ||
        (state.is_twin(record.app) && record.state == AppDurable::serving)) {
      return failure("the journal contradicts itself about application " + std::to_string(record.app.value));
    }
    Application& app = state.app(record.app);
    app.epoch = record.epoch;
    app.wanted = record.state != AppDurable::idle && record.state != AppDurable::failed;
    Move move{};
    move.cause = record.cause;
    move.from = record.from;
    move.preferred = record.to;
    move.give_up = record.give_up;
    // That its guest might be ended for it is not written down.
    move.planned = record.to.has_value() || record.give_up == app_state::kStoppedByOrder;
    move.report.app = record.app;
    move.report.cause = record.cause;
    move.report.from = record.from;
    move.report.epoch = record.epoch;
    if (record.in) move.report.to = record.in->guest;
    if (state.is_twin(record.app) && move_of_twin(record)) {
      app.rehearsal.emplace();
      app.rehearsal->ending = true;
      app.rehearsal->failed = "the daemon was started again meanwhile";
      if (record.to) app.rehearsal->on = *record.to;
      if (record.in) app.rehearsal->on = record.in->guest;
    }
    switch (record.state) {
      case AppDurable::idle: break;
      case AppDurable::failed: app.state = app_state::Failed{record.cause}; break;
      case AppDurable::waiting:
        move.step = move_step::Choosing{};
        app.state = app_state::Moving{std::move(move)};
        break;
      case AppDurable::moving:
      case AppDurable::leaving:
        // A rehearsal is never gone on with.
        move.step = Resuming{*record.in, record.state == AppDurable::leaving || state.is_twin(record.app)};
        app.state = app_state::Moving{std::move(move)};
        break;
      case AppDurable::serving: {
        app_state::Serving serving;
        serving.on = *record.in;
        serving.limit_bytes = state.setup.app(record.app).desired_bytes;
        serving.unconfirmed = true;
        app.state = std::move(serving);
        break;
      }
    }
    app.journalled = app.record();
    return {};
  }
};

// What the hypervisor says of the areas that may be in this run. An area that is in it against the journal
// means that one of the two is wrong: such a guest keeps nothing.
bool settle_areas(Step& step, const event::GuestAdopted& event) {
  Table& table = step.state.table;
  for (const event::PluggedArea& plugged : event.areas) {
    if (!table.knows(plugged.area) || table.area(plugged.area).in != event.run) return false;
  }
  std::vector<AreaId> recorded;
  for (const Area& area : table.areas()) {
    if (area.in == event.run) recorded.push_back(area.id);
  }
  for (const AreaId id : recorded) {
    const auto found = std::find_if(event.areas.begin(), event.areas.end(),
                                    [&](const event::PluggedArea& plugged) { return plugged.area == id; });
    if (found != event.areas.end()) {
      table.found_plugged(id, found->guest_address);
    } else {
      table.found_absent(id);
      // As when it is told: only who is on his way keeps what is nowhere.
      if (step.state.app(*table.area(id).user).moving() == nullptr) table.free(id);
    }
  }
  return true;
}

// Its monitor has said what is in it. False: that cannot be, and the guest is fenced.
bool settle(Step& step, Guest& guest, const event::GuestAdopted& event) {
  guest.unsettled = false;
  guest.state_due.reset();
  if (guest.adopted) guest.state_due = step.now + step.state.setup.guest(guest.id).boot_limit;
  found_vcpus(step, guest, event.vcpus);
  if (settle_areas(step, event)) {
    found_leftovers(step, guest);
    return true;
  }
  condemn(step, guest, step.state.name(guest.id) + " holds areas that the journal does not give it",
          step.now);
  return false;
}

// The former daemon asked it to end before it could write that down (a request to end does not wait for a
// journal that refuses). It goes on leaving: its agent will say that it has ended only to whoever asks again.
void resume_ending(Step& step, Application& app, GuestRun from) {
  step.out.withdraw.push_back({app.id});
  begin_move(step, app, "it was being ended when the daemon died", from.guest, step.now,
             move_step::Choosing{});
  enter_stopping(step, app, from);
}

void resume_serving(Step& step, Application& app, const event::AppStated& stated) {
  auto* serving = app.serving();
  serving->unconfirmed = false;
  if (stated.ending) {
    resume_ending(step, app, GuestRun(serving->on));
    return;
  }
  if (!stated.fault.empty()) {
    handle(step, event::AppFaulted{serving->on, app.id, app.epoch, stated.fault, ""});
    return;
  }
  if (!stated.runs) return agent_forgot(step, app);
  if (stated.restarting) enter_trouble(step, app, "being restarted in place", {});
  step.note(Severity::info, "app-resumed", step.state.name(app.id) + " has served on", serving->on.guest,
            app.id);
  if (step.state.has_port_for(app.id, serving->on.guest) && !serving->withdrawn)
    step.out.route.push_back({app.id, serving->on});
  // Of a growth of which nothing had reached the guest.
  for (const AreaId id : step.state.table.held_by(app.id)) step.state.table.free(id);
  // Areas that a growth left half way: they are its own already, and go on from where they are.
  bool half_way = false;
  for (const Area& area : step.state.table.areas()) {
    half_way =
        half_way || (area.user == app.id && area.in == serving->on && area.state == AreaState::plugged);
  }
  if (half_way) {
    serving->growing = step.now + kGrowthLimit;
    growth_plugged(step, app);
  } else if (serving->wants) {
    handle(step, event::AppWantsMemory{serving->on, app.id, app.epoch, *serving->wants});
  }
}

// It served before its agent was asked. The agent may be another one, and what it was to tell may be lost.
void look_again(Step& step, Application& app, const event::AppStated& stated) {
  const auto* serving = app.serving();
  if (stated.ending) return resume_ending(step, app, GuestRun(serving->on));
  if (!stated.fault.empty()) {
    handle(step, event::AppFaulted{serving->on, app.id, app.epoch, stated.fault, ""});
  } else if (!stated.runs) {
    agent_forgot(step, app);
  } else if (stated.restarting && serving->trouble.empty()) {
    enter_trouble(step, app, "being restarted in place", {});
  }
}

void resume_move(Step& step, Application& app, const Resuming& resuming, const event::AppStated& stated) {
  Move& move = app.moving()->move;
  const GuestRun in = resuming.in;
  if (resuming.leaving || !stated.runs || stated.ending) {
    // A start may still be on its way to it, and whether its OS counts the areas that were plugged by then
    // nobody knows, so no need that it states can be trusted. It leaves (a stopped epoch starts no more) and
    // is placed anew.
    enter_stopping(step, app, in);
    return;
  }
  // It was started under this epoch: the agent answers the same request with what became of it.
  for (const AreaId id : step.state.table.in_use_by(app.id, in)) {
    if (step.state.table.area(id).state == AreaState::plugged) step.state.table.engaged(id);
  }
  move.report.to = in.guest;
  enter_starting(step, app, in, step.state.setup.app(app.id).desired_bytes);
}

}  // namespace

Result<void> Core::restore(std::span<const Record> records) {
  for (const Record& record : records) {
    Result<void> done = std::visit(Restore{state_}, record);
    if (!done) return done;
  }
  for (const Area& area : state_.table.areas()) {
    if (area.in && state_.living(*area.in) == nullptr) {
      return failure("the journal has area " + std::to_string(area.id.value) + " in a former run of a guest");
    }
  }
  return {};
}

void handle(Step& step, const event::Resume&) {
  // It died while everything was going down: that goes on.
  const bool going_down = std::none_of(step.state.guests.begin(), step.state.guests.end(),
                                       [](const Guest& g) { return g.wanted; });
  for (Guest& guest : step.state.guests) {
    if (std::holds_alternative<guest_state::Off>(guest.state)) guest.down_since = step.now;
    const auto* adopting = std::get_if<Adopting>(&guest.state);
    if (adopting == nullptr) continue;
    if (adopting->was == GuestDurable::fenced) {
      // Nothing is to be found out: it is verified stopped, its process as well, and is only to be discarded.
      guest.adopted = false;
      guest.down_since = step.now;
      guest.state = guest_state::Fenced{adopting->why, step.now, true, guest_state::Fenced::Dump::done};
    } else if (adopting->was == GuestDurable::fencing) {
      // A takeover waits for its end, and it may be its monitor that hangs.
      condemn(step, guest, std::string(adopting->why), step.now);
    } else {
      step.out.adopt.push_back({guest.current()});
    }
  }
  for (Application& app : step.state.apps) {
    if (going_down) app.wanted = false;
    if (app.serving() == nullptr) step.out.withdraw.push_back({app.id});
    if (auto* moving = app.moving()) moving->move.mark = step.now;
    const auto place = app.place();
    // Its guest was never recorded as started: then neither was it.
    if (place && step.state.living(*place) == nullptr) {
      if (step.state.is_twin(app.id)) {
        rehearsal_over(step, app);
        continue;
      }
      begin_move(step, app, "its guest is gone", place->guest, step.now, move_step::Choosing{});
    }
  }
  for (const Area& area : std::vector<Area>(step.state.table.areas())) {
    // Zeroing ended with the daemon. Where its application goes now may be where the area comes from: whether
    // it is zeroed at all is decided again when it is plugged.
    if (area.state == AreaState::scrubbing) step.state.table.scrub_ended(area.id);
    if (step.state.table.area(area.id).state != AreaState::held) continue;
    if (step.state.app(*area.user).moving() == nullptr) step.state.table.free(area.id);
  }
}

namespace {

std::string differences_text(const std::vector<Difference>& differences) {
  std::string text;
  for (const Difference& each : differences) {
    text += (text.empty() ? "" : "; ") + each.what + ": " + each.has + ", now " + each.file;
  }
  return text;
}

// Of a run of which nobody wrote that down: an area that is in a guest is of the guest's domain.
std::string domain_of_areas(Step& step, const Guest& guest) {
  for (const Area& area : step.state.table.areas()) {
    if (area.in == guest.current()) return area.last_domain;
  }
  return step.state.setup.guest(guest.id).trust_domain;
}

// What it was started with goes on being true of it, whatever the setup says by now.
void take_definition(Step& step, Guest& guest, const event::GuestAdopted& event) {
  if (!event.image.empty()) image_booted(step, guest, event.image);
  guest.started_with = event.definition.value_or(step.state.setup.guest(guest.id));
  if (guest.started_with->trust_domain.empty())
    guest.started_with->trust_domain = domain_of_areas(step, guest);
  const bool said = guest.outdated == event.outdated;
  guest.outdated = event.outdated;
  guest.no_port_for = event.no_port_for;
  if (said || guest.outdated.empty()) return;
  step.note(Severity::warning, "guest-outdated",
            step.state.name(guest.id) + " was started with another configuration and serves on as it is (" +
                differences_text(guest.outdated) + "); the present one counts from its next start",
            guest.id);
}

}  // namespace

void handle(Step& step, const event::GuestAdopted& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr) return;
  const auto* adopting = std::get_if<Adopting>(&guest->state);
  if (adopting == nullptr) {
    // It was condemned while it was looked for.
    if (std::holds_alternative<guest_state::Fencing>(guest->state)) step.out.fence.push_back({event.run});
    if (guest->unsettled && guest->believed_up()) take_definition(step, *guest, event);
    if (guest->unsettled && guest->believed_up() && event.answers && settle(step, *guest, event) &&
        guest->ready() != nullptr) {
      ask_state(step, *guest);
    }
    return;
  }
  const Adopting was = *adopting;
  const std::string& name = step.state.name(guest->id);
  take_definition(step, *guest, event);
  guest->unsettled = true;
  if (event.answers && !settle(step, *guest, event)) return;
  adopted(step, *guest, event.executing);
  const bool waits = event.answers && event.executing;
  step.note(waits ? Severity::info : Severity::warning, "guest-adopted",
            waits ? name + " lives; waiting for its agent"
            : event.answers
                ? name + "'s vCPUs are paused; asking its kernel"
                : name + "'s process is there, but its monitor does not answer; asking its kernel",
            guest->id);
}

void handle(Step& step, const event::AppsStated& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || guest->unsettled || !guest->state_asked) return;
  const Time asked = *guest->state_asked;
  guest->adopted = false;
  guest->state_asked.reset();
  guest->state_due.reset();
  for (Application& app : step.state.apps) {
    const auto place = app.place();
    if (place != event.run) continue;
    const auto found = std::find_if(
        event.apps.begin(), event.apps.end(),
        [&](const event::AppStated& stated) { return stated.app == app.id && stated.epoch == app.epoch; });
    const event::AppStated stated =
        found != event.apps.end() ? *found : event::AppStated{app.id, app.epoch, false, false, ""};
    if (app.serving() != nullptr && app.serving()->unconfirmed) {
      resume_serving(step, app, stated);
    } else if (app.serving() != nullptr && app.serving()->since <= asked) {
      look_again(step, app, stated);
    } else if (const auto* resuming = app.in_step<Resuming>()) {
      resume_move(step, app, Resuming(*resuming), stated);
    }
  }
}

}  // namespace understudy::core

// Areas on their way into a guest: zeroed first where they come from another trust domain, then plugged, all
// of a placement at once; when all are in, the guest is asked to confirm them.
//
// Two kinds of failure are told apart. What was tried in the guest (its kernel may have seen the device)
// leaves a guest that cannot be trusted with another attempt: it is fenced. What the host could not do (no
// descriptor, no right to the file, a refusal of the hypervisor, an area that cannot be zeroed) says nothing
// about the guest: this placement is given up, whatever got in is let go of again, another guest is tried,
// and this one again after a while, ever more rarely.
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

using namespace move_step;

// Without any progress: zeroing many areas, one after the other, may take longer altogether.
constexpr Duration kPluggingLimit = std::chrono::seconds(20);
constexpr std::uint32_t kMostScrubs = 4;
constexpr Duration kFirstScrubPause = std::chrono::milliseconds(200);  // doubles

std::string area_text(AreaId id) {
  return "area " + std::to_string(id.value);
}

AreaLater* find_scrub(Application& app, AreaId id) {
  auto* at = app.in_step<Plugging>();
  if (at == nullptr) return nullptr;
  const auto found = std::find_if(at->scrubs.begin(), at->scrubs.end(),
                                  [id](const AreaLater& scrub) { return scrub.area == id; });
  return found == at->scrubs.end() ? nullptr : &*found;
}

// All areas that this guest is to get are plugged: have them confirmed.
void engage_if_complete(Step& step, Application& app) {
  const Plugging& at = *app.in_step<Plugging>();
  if (!at.scrubs.empty()) return;
  const GuestRun to = at.to;
  action::AskEngage ask{to, app.id, app.epoch, {}};
  for (const Area& area : step.state.table.areas()) {
    if (area.user != app.id || area.in != to) continue;  // kept by a guest that it has left
    if (area.state == AreaState::plugging) return;
    ask.areas.push_back({area.id, area.guest_address, step.state.setup.pool.area_bytes});
  }
  app.moving()->move.lap(Phase::attach, step.now);
  enter_engaging(step, app, to);
  step.out.engage.push_back(std::move(ask));
}

void plug(Step& step, GuestRun to, AreaId id) {
  step.state.table.begin_plug(id, to, step.state.definition(to.guest).trust_domain);
  step.out.plug.push_back({to, id});
}

void scrub(Step& step, AreaLater& scrub) {
  scrub.at.reset();
  step.state.table.begin_scrub(scrub.area);
  step.out.scrub.push_back({scrub.area});
}

// Between trust domains an area is zeroed first; inside one its pages go as they are.
void plug_or_scrub(Step& step, Application& app, GuestRun to, AreaId id) {
  const std::string& domain = step.state.definition(to.guest).trust_domain;
  const std::string& last = step.state.table.area(id).last_domain;
  if (last.empty() || last == domain) return plug(step, to, id);
  step.note(Severity::info, "area-scrubbed",
            area_text(id) + " is zeroed: it comes from trust domain " + last + " and goes to " + domain,
            to.guest, app.id);
  auto& scrubs = app.in_step<Plugging>()->scrubs;
  scrubs.push_back({id, 0, {}});
  scrub(step, scrubs.back());
  app.moving()->move.report.bytes_zeroed += step.state.setup.pool.area_bytes;
}

// The area is held again. For whatever placement it was zeroed: that one is over, or it was none of this
// one's.
void came_too_late(Step& step, Application& app, AreaId id) {
  const bool placed = app.in_step<Plugging>() != nullptr || app.in_step<Engaging>() != nullptr ||
                      app.in_step<Starting>() != nullptr;
  // One that is still to be placed may need it; what it does not need it gives back then.
  if (app.moving() == nullptr || placed) step.state.table.free(id);
}

bool anything_on_its_way(const State& state, const Application& app, GuestRun to) {
  const std::vector<AreaId> areas = state.table.in_use_by(app.id, to);
  return std::any_of(areas.begin(), areas.end(),
                     [&](AreaId id) { return state.table.area(id).state == AreaState::plugging; });
}

bool is_being_scrubbed(const Step& step, AreaId id) {
  return step.state.table.knows(id) && step.state.table.area(id).state == AreaState::scrubbing;
}

}  // namespace

void begin_plugging(Step& step, Application& app, GuestRun to, const std::vector<AreaId>& granted) {
  app.moving()->move.step = Plugging{to, step.now + kPluggingLimit};
  for (const AreaId id : granted) plug_or_scrub(step, app, to, id);
  if (granted.empty()) engage_if_complete(step, app);  // all that it needs was plugged before a restart
}

Time plugging_due(const Plugging& plugging) {
  Time due = plugging.deadline;
  for (const AreaLater& scrub : plugging.scrubs) {
    if (scrub.at) due = std::min(due, *scrub.at);
  }
  return due;
}

void advance_plugging(Step& step, Application& app) {
  Plugging& at = *app.in_step<Plugging>();
  for (AreaLater& later : at.scrubs) {
    if (later.at && step.now >= *later.at) scrub(step, later);
  }
  if (step.now < at.deadline) return;
  if (anything_on_its_way(step.state, app, at.to)) {
    return condemn_slow(step, GuestRun(at.to), "get the areas for " + step.state.name(app.id),
                        kPluggingLimit);
  }
  give_up_placement(step, app, at.to, "areas were not zeroed within " + format_duration(kPluggingLimit));
}

void give_up_placement(Step& step, Application& app, GuestRun to, const std::string& why) {
  const std::string& guest = step.state.name(to.guest);
  if (step.state.is_twin(app.id)) {
    rehearsal_fails(app, why);
  } else {
    Application::Avoid& avoided = avoid(step, app, to.guest, why);
    // Said once, not with every attempt.
    if (avoided.trouble.empty()) {
      step.note(Severity::error, "plug-failed",
                "the host could not plug memory into " + guest + " for " + step.state.name(app.id) + ": " +
                    why + "; " + guest + " goes on as it is, other guests are tried, and " + guest +
                    " again at least once a minute",
                to.guest, app.id);
    }
    avoided.trouble = why;
  }
  enter_releasing(step, app, to);
}

void handle(Step& step, const event::AreaScrubbed& event) {
  if (!is_being_scrubbed(step, event.area)) return;
  step.state.table.scrubbed(event.area);
  Application& app = step.state.app(*step.state.table.area(event.area).user);
  if (find_scrub(app, event.area) == nullptr) return came_too_late(step, app, event.area);
  Plugging& at = *app.in_step<Plugging>();
  at.deadline = step.now + kPluggingLimit;
  std::erase_if(at.scrubs, [&](const AreaLater& scrub) { return scrub.area == event.area; });
  plug(step, at.to, event.area);
}

void handle(Step& step, const event::ScrubFailed& event) {
  if (!is_being_scrubbed(step, event.area)) return;
  step.state.table.scrub_failed(event.area);
  Application& app = step.state.app(*step.state.table.area(event.area).user);
  AreaLater* scrub = find_scrub(app, event.area);
  if (scrub == nullptr) return came_too_late(step, app, event.area);
  const std::string text = area_text(event.area) + " could not be zeroed: " + event.why;
  if (++scrub->failures == 1) {
    step.note(Severity::error, "scrub-failed",
              text + "; tried again up to " + std::to_string(kMostScrubs - 1) + " times", std::nullopt,
              app.id);
  }
  if (scrub->failures >= kMostScrubs) return give_up_placement(step, app, app.in_step<Plugging>()->to, text);
  scrub->at = step.now + kFirstScrubPause * (1LL << (scrub->failures - 1));
}

void handle(Step& step, const event::AreaPlugged& event) {
  if (!step.state.table.knows(event.area)) return;
  const Area& area = step.state.table.area(event.area);
  if (area.state != AreaState::plugging || area.in != event.run) return;
  step.state.table.plugged(event.area, event.guest_address);
  Application& app = step.state.app(*area.user);
  if (auto* at = app.in_step<Plugging>()) {
    at->deadline = step.now + kPluggingLimit;
    engage_if_complete(step, app);
  } else if (app.serving() != nullptr && app.serving()->growing) {
    growth_plugged(step, app);
  } else if (app.in_step<Releasing>() != nullptr) {
    go_on_releasing(step, app);
  }
}

void handle(Step& step, const event::PlugFailed& event) {
  if (!step.state.table.knows(event.area)) return;
  const Area& area = step.state.table.area(event.area);
  if (area.state != AreaState::plugging || area.in != event.run) return;
  step.state.table.plug_failed(event.area);
  Application& app = step.state.app(*area.user);
  const std::string& guest = step.state.name(event.run.guest);
  if (event.tried_in_guest) {
    step.note(Severity::error, "plug-failed",
              area_text(event.area) + " could not be plugged into " + guest + ": " + event.why,
              event.run.guest);
    // What its kernel made of the attempt is unknown: it is not trusted with another.
    condemn(step, step.state.guest(event.run.guest), guest + " could not take an area (" + event.why + ")",
            step.now);
  } else if (app.in_step<Plugging>() != nullptr) {
    give_up_placement(step, app, event.run, event.why);
  } else if (app.serving() != nullptr && app.serving()->growing) {
    growth_plug_failed(step, app, event.area, event.why);
  } else if (app.in_step<Releasing>() != nullptr) {
    go_on_releasing(step, app);
  }
}

}  // namespace understudy::core

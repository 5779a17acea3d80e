// An application that ran out of memory asks for more before it is restarted where it is: areas from the
// unused part of the pool, up to its maximum, confirmed from inside like any others.
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

// An agent that was not answered for so long counts that as a refusal (docs/agent-protocol.md).
constexpr Duration kAnswerToWant = std::chrono::seconds(30);

void refuse(Step& step, Application& app, const std::string& why) {
  const auto* serving = app.serving();
  step.out.growth.push_back({serving->on, app.id, app.epoch, serving->limit_bytes, {}, why});
  step.note(Severity::warning, "no-more-memory",
            step.state.name(app.id) + " ran out of memory and gets no more: " + why, serving->on.guest,
            app.id);
}

}  // namespace

void handle(Step& step, const event::AppWantsMemory& event) {
  Application& app = step.state.app(event.app);
  auto* serving = app.serving();
  if (serving == nullptr || serving->on != event.run || app.epoch != event.epoch || serving->growing) return;
  enter_trouble(step, app, "out of memory", kAnswerToWant);
  if (serving->unconfirmed || rehearsal_under_way(step.state) != nullptr) {
    serving->wants = event.more_bytes;
    return;
  }
  serving->wants.reset();
  const AppSetup& setup = step.state.setup.app(app.id);
  const Bytes has = serving->limit_bytes - std::min(serving->limit_bytes, serving->lost_bytes);
  if (has >= setup.maximum_bytes) {
    refuse(step, app, "it has its maximum of " + format_size(setup.maximum_bytes));
    return;
  }
  const Bytes usable = usable_bytes(step.state.setup.pool.area_bytes);
  const Bytes more = std::min(event.more_bytes, setup.maximum_bytes - has);
  const std::size_t wanted = std::max<std::size_t>(1, (more + usable - 1) / usable);
  const std::uint32_t slots = step.state.definition(event.run.guest).slots;
  const std::uint32_t used = slots_taken(step.state, event.run);
  std::vector<AreaId> areas = step.state.table.unused();
  // Only memory that this trust domain may have as it is: there is no time to scrub while the application
  // waits.
  const std::string& domain = step.state.definition(event.run.guest).trust_domain;
  std::erase_if(areas, [&](AreaId id) {
    const std::string& last = step.state.table.area(id).last_domain;
    return !last.empty() && last != domain;
  });
  areas.resize(std::min({areas.size(), wanted, static_cast<std::size_t>(slots - std::min(slots, used))}));
  if (areas.empty()) {
    refuse(step, app, used >= slots ? "its guest has no memory slots left" : "no area of the pool is unused");
    return;
  }
  serving->growing = step.now + kGrowthLimit;
  serving->growth_trouble.clear();
  for (const AreaId id : areas) {
    step.state.table.hold(id, app.id);
    step.state.table.begin_plug(id, event.run, domain);
    step.out.plug.push_back({event.run, id});
  }
  step.note(Severity::info, "app-grows",
            step.state.name(app.id) + " ran out of memory; " +
                format_size(areas.size() * step.state.setup.pool.area_bytes) + " more is attached",
            event.run.guest, app.id);
}

void grow_after_rehearsal(Step& step, Application& app) {
  const auto* serving = app.serving();
  if (!serving->wants || serving->unconfirmed || serving->growing) return;
  if (rehearsal_under_way(step.state) != nullptr) return;
  handle(step, event::AppWantsMemory{serving->on, app.id, app.epoch, *serving->wants});
}

void growth_plug_failed(Step& step, Application& app, AreaId id, const std::string& why) {
  step.state.table.free(id);
  app.serving()->growth_trouble =
      "the host could not plug more memory into " + step.state.name(app.serving()->on.guest) + ": " + why;
  growth_plugged(step, app);
}

bool growth_being_confirmed(const State& state, const Application& app) {
  const auto* serving = app.serving();
  if (serving == nullptr || !serving->growing) return false;
  const std::vector<AreaId> areas = state.table.in_use_by(app.id, serving->on);
  const auto is = [&](AreaState wanted) {
    return std::any_of(areas.begin(), areas.end(),
                       [&](AreaId id) { return state.table.area(id).state == wanted; });
  };
  return is(AreaState::plugged) && !is(AreaState::plugging);
}

void growth_plugged(Step& step, Application& app) {
  action::AskEngage ask{app.serving()->on, app.id, app.epoch, {}};
  for (const Area& area : step.state.table.areas()) {
    if (area.user != app.id || area.in != app.serving()->on) continue;
    if (area.state == AreaState::plugging) return;
    if (area.state != AreaState::plugged) continue;
    ask.areas.push_back({area.id, area.guest_address, step.state.setup.pool.area_bytes});
  }
  if (!ask.areas.empty()) {
    step.out.engage.push_back(std::move(ask));
    return;
  }
  // None of them could be plugged.
  app.serving()->growing.reset();
  refuse(step, app, app.serving()->growth_trouble);
}

void growth_lost(Step& step, Application& app) {
  auto* serving = app.serving();
  const std::vector<AreaId> areas = step.state.table.in_use_by(app.id, serving->on);
  const bool more = std::any_of(areas.begin(), areas.end(), [&](AreaId id) {
    const AreaState is = step.state.table.area(id).state;
    return is == AreaState::plugged || is == AreaState::plugging;
  });
  if (more) return;  // its guest's answer, or theirs, comes
  serving->growing.reset();
  refuse(step, app, step.state.name(serving->on.guest) + " gave away what it was given");
}

void growth_engaged(Step& step, Application& app, const event::AreasEngaged&) {
  auto* serving = app.serving();
  serving->growing.reset();
  serving->wants.reset();
  std::vector<AreaId> added;
  for (const Area& area : step.state.table.areas()) {
    if (area.user == app.id && area.in == serving->on && area.state == AreaState::plugged)
      added.push_back(area.id);
  }
  for (const AreaId id : added) step.state.table.engaged(id);
  const Bytes usable = added.size() * usable_bytes(step.state.setup.pool.area_bytes);
  // What its guest has given away comes first: it was told before that it may use as much.
  const Bytes replaced = std::min(serving->lost_bytes, usable);
  serving->lost_bytes -= replaced;
  serving->limit_bytes =
      std::min(step.state.setup.app(app.id).maximum_bytes, serving->limit_bytes + usable - replaced);
  enter_trouble(step, app, "being restarted with " + format_size(serving->limit_bytes), {});
  step.out.growth.push_back({serving->on, app.id, app.epoch, serving->limit_bytes, std::move(added), ""});
}

}  // namespace understudy::core

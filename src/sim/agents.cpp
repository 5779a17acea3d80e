#include "sim/agents.hpp"

#include "base/memory_rules.hpp"

#include <algorithm>

namespace understudy::sim {

namespace event = core::event;

void SimAgents::send(core::GuestRun run, std::function<void()> handle) {
  world_.kill_point();
  Vm& vm = world_.vm(run.guest);
  if (vm.run != run || vm.linked != world_.daemon) return;
  const Time arrival = vm.to_agent.arrival(world_.now() + world_.takes(world_.shape.timing.agent));
  world_.in_agent(run, arrival - world_.now(), std::move(handle));
}

void SimAgents::ask_state(const core::action::AskState& request) {
  send(request.run,
       [this, request] { world_.from_agent(request.run, stated_by(world_.vm(request.run.guest))); });
}

core::event::AppsStated stated_by(const Vm& vm) {
  event::AppsStated answer{vm.run, {}};
  for (std::uint32_t i = 0; i < vm.apps.size(); ++i) {
    const AppInside& app = vm.apps[i];
    if ((!app.exists && app.fault.empty()) || app.stray) continue;
    const bool restarting = app.exists && (app.wants_memory || app.restarting || app.undying);
    answer.apps.push_back({core::AppId{i}, app.epoch, app.exists, restarting, app.fault, app.ending});
  }
  return answer;
}

void SimAgents::ask_need(const core::action::AskNeed& request) {
  send(request.run, [this, request] {
    if (world_.random.chance(world_.shape.odds.need_silent)) return;
    const core::MemoryReport memory = world_.memory(request.run.guest, request.app);
    const Bytes missing = compute_need(request.memory_bytes, memory.available_bytes).missing_bytes;
    world_.from_agent(request.run, event::NeedStated{request.run, request.app, request.epoch, missing});
  });
}

void SimAgents::ask_engage(const core::action::AskEngage& request) {
  checkers_.engaging(request);
  send(request.run, [this, request] {
    world_.in_agent(request.run, world_.takes(world_.shape.timing.online),
                    [this, request] { engage(request); });
  });
}

void SimAgents::engage(const core::action::AskEngage& request) {
  const core::GuestRun run = request.run;
  if (world_.random.chance(world_.shape.odds.engage_silent)) return;
  const bool all_there = std::all_of(request.areas.begin(), request.areas.end(), [&](const auto& area) {
    return world_.area(area.area).usable_in(run) && world_.area(area.area).address == area.guest_address;
  });
  if (!all_there || world_.random.chance(world_.shape.odds.engage_fails)) {
    world_.from_agent(run, event::EngageFailed{run, request.app, request.epoch, "a block did not go online"});
    return;
  }
  for (const auto& area : request.areas) {
    world_.area(area.area).online = true;
    world_.area(area.area).engaged_for = request.app;
    world_.area(area.area).confirmed = true;
  }
  world_.from_agent(run, event::AreasEngaged{run, request.app, request.epoch, world_.memory(run.guest)});
}

void SimAgents::ask_start(const core::action::AskStart& request) {
  checkers_.starting(request);
  send(request.run, [this, request] { start(request); });
}

void SimAgents::start(const core::action::AskStart& request) {
  const core::GuestRun run = request.run;
  AppInside& app = inside(run, request.app);
  if (app.stray && !app.undying) app = AppInside{};  // killed before a start
  const bool again = request.epoch == app.epoch && request.epoch > app.ended;
  if (again && app.exists && app.wants_memory) {  // started anew, with what it is given now
    app.wants_memory = false;
    app.restarting = true;
    app.limit_bytes = request.memory_limit_bytes;
    app.areas = request.areas;
    return restart(run, request.app, request.epoch);
  }
  if (again && app.exists && app.serving && !app.restarting) return started(run, request.app, request.epoch);
  if (again && app.exists) return;  // it is being started: the answer comes
  if (again && !app.start_failed && !app.fault.empty()) {
    world_.from_agent(run, event::AppFaulted{run, request.app, request.epoch, app.fault, ""});
    return;
  }
  if (request.epoch <= std::max(app.epoch, app.ended) || app.exists) {
    const std::string why = again ? app.fault : "another start is newer, or this one was ended";
    world_.from_agent(run, event::AppStartFailed{run, request.app, request.epoch, why});
    return;
  }
  if (world_.app_started) world_.app_started(request.app, run);
  const core::Epoch ended = app.ended;
  app = AppInside{};
  app.ended = ended;
  app.exists = true;
  app.epoch = request.epoch;
  app.limit_bytes = request.memory_limit_bytes;
  app.areas = request.areas;
  if (world_.random.chance(world_.shape.odds.start_hangs)) return;
  const bool fails = world_.random.chance(world_.shape.odds.start_fails);
  world_.in_agent(run, world_.takes(world_.shape.timing.start), [this, request, run, fails] {
    AppInside& now = inside(run, request.app);
    if (!now.exists || now.serving || now.ending || now.epoch != request.epoch) return;  // ended meanwhile
    if (!fails) return started(run, request.app, request.epoch);
    now.exists = false;
    now.start_failed = true;
    now.fault = "exit status 1";
    world_.from_agent(run, event::AppStartFailed{run, request.app, request.epoch, now.fault});
  });
}

void SimAgents::started(core::GuestRun run, core::AppId app, core::Epoch epoch) {
  AppInside& now = inside(run, app);
  now.serving = true;
  now.restarting = false;
  world_.from_agent(run, event::AppServing{run, app, epoch, 4_MiB, now.areas});
}

void SimAgents::ask_stop(const core::action::AskStop& request) {
  send(request.run, [this, request] {
    const core::GuestRun run = request.run;
    AppInside& asked = inside(run, request.app);
    if (request.epoch >= asked.epoch) {
      // From here on it serves nobody and starts no more, however long its processes take to go.
      asked.ending = asked.exists;
      asked.serving = asked.wants_memory = asked.restarting = false;
      asked.epoch = asked.ended = request.epoch;
    }
    if (world_.random.chance(world_.shape.odds.stop_hangs)) return;
    if (asked.undying || world_.random.chance(world_.shape.odds.stop_fails)) {
      world_.from_agent(run, event::StopFailed{run, request.app, request.epoch, "a process does not end"});
      return;
    }
    world_.in_agent(run, world_.takes(world_.shape.timing.stop), [this, request, run] {
      AppInside& app = inside(run, request.app);
      if (app.epoch > request.epoch) return;
      app.exists = app.ending = app.start_failed = app.stray = false;
      app.fault.clear();
      world_.from_agent(run, event::AppStopped{run, request.app, request.epoch});
    });
  });
}

void SimAgents::ask_release(const core::action::AskRelease& request) {
  checkers_.releasing(request);
  send(request.run, [this, request] {
    if (world_.random.chance(world_.shape.odds.release_hangs)) return;
    world_.in_agent(request.run, world_.takes(world_.shape.timing.release),
                    [this, request] { release(request); });
  });
}

void SimAgents::release(const core::action::AskRelease& request) {
  const core::GuestRun run = request.run;
  event::AreasReleased answer{run, request.app, request.epoch, {}, ""};
  if (inside(run, request.app).exists) {
    answer.why_not_all = "the application runs";
    world_.from_agent(run, answer);
    return;
  }
  const bool lies = world_.random.chance(world_.shape.odds.release_lies);
  const bool partial = world_.random.chance(world_.shape.odds.release_partial);
  for (const core::AreaId area : request.areas) {
    if (partial && world_.random.chance(0.5)) {
      answer.why_not_all = "pages of a block are pinned";
      continue;
    }
    if (!lies && world_.area(area).usable_in(run)) world_.area(area).online = false;
    answer.areas.push_back(area);
  }
  world_.from_agent(run, answer);
}

void SimAgents::answer_growth(const core::action::AnswerGrowth& answer) {
  checkers_.growing(answer);
  send(answer.run, [this, answer] {
    AppInside& app = inside(answer.run, answer.app);
    if (!app.exists || !app.wants_memory || app.epoch != answer.epoch) return;
    app.wants_memory = false;
    if (answer.areas.empty() && ++app.restarts > world_.shape.most_restarts) {
      app.exists = app.serving = false;
      app.fault = "out of memory, restarts used up";
      world_.from_agent(answer.run, event::AppFaulted{answer.run, answer.app, answer.epoch, app.fault, ""});
      return;
    }
    app.limit_bytes = answer.memory_limit_bytes;
    app.areas.insert(app.areas.end(), answer.areas.begin(), answer.areas.end());
    app.restarting = true;
    restart(answer.run, answer.app, answer.epoch);
  });
}

void SimAgents::restart(core::GuestRun run, core::AppId app, core::Epoch epoch) {
  world_.in_agent(run, world_.takes(world_.shape.timing.start), [this, run, app, epoch] {
    AppInside& now = inside(run, app);
    if (now.exists && !now.ending && !now.undying && now.epoch == epoch) started(run, app, epoch);
  });
}

void SimAgents::ask_prepare(const core::action::AskPrepare&) {}

}  // namespace understudy::sim

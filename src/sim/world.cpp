#include "sim/world.hpp"

#include "base/memory_rules.hpp"
#include "sim/describe.hpp"

#include <algorithm>
#include <utility>

namespace understudy::sim {

World::World(Shape s, std::uint64_t seed) : shape(std::move(s)), random(seed) {
  vms.resize(setup().guests.size());
  for (std::uint32_t i = 0; i < vms.size(); ++i) {
    vms[i].run.guest = core::GuestId{i};
    vms[i].apps.resize(setup().apps.size());
    vms[i].vcpus.resize(setup().apps.size());
  }
  areas.resize(setup().pool.area_count);
  routes.resize(setup().apps.size());
}

void World::change_file() {
  change_setup(random, shape.setup);
  core::PoolSetup& pool = shape.setup.pool;
  // What the daemon refuses to begin with is for another test: the budget has room for what lives.
  Bytes needed = pool.area_count * pool.area_bytes;
  for (const Vm& machine : vms) {
    const core::GuestSetup& guest = setup().guest(machine.run.guest);
    needed += std::max(guest.base_bytes, definition(machine.run.guest).base_bytes) + guest.overhead_bytes;
  }
  pool.budget_bytes = std::max(pool.budget_bytes, needed);
  say("the file is another: " + describe(shape));
}

Vm* World::living(core::GuestRun run) {
  Vm& machine = vm(run.guest);
  return machine.run == run ? &machine : nullptr;
}

bool World::may_execute(core::GuestRun run) const {
  const Vm& machine = vm(run.guest);
  return machine.run == run && machine.may_execute();
}

const core::Definition& World::definition(core::GuestId id) const {
  return vm(id).process ? vm(id).definition : setup().guest(id);
}

core::MemoryReport World::memory(core::GuestId id, std::optional<core::AppId> asking) const {
  const core::Definition& guest = definition(id);
  const Vm& machine = vm(id);
  const Bytes area_bytes = setup().pool.area_bytes;
  Bytes online = 0;
  std::vector<Bytes> engaged(machine.apps.size());
  for (const AreaTruth& area : areas) {
    if (!area.online || !area.usable_in(machine.run)) continue;
    online += usable_bytes(area_bytes);
    if (area.engaged_for) engaged[area.engaged_for->value] += usable_bytes(area_bytes);
  }
  // The kernel calls free what an application left behind, or has not taken yet; agents know better
  // (docs/agent-protocol.md).
  Bytes used = shape.os_bytes[id.value];
  for (std::uint32_t i = 0; i < machine.apps.size(); ++i) {
    const AppInside& app = machine.apps[i];
    const bool its_rehearsal = asking && !app.exists && setup().app(core::AppId{i}).rehearses == asking;
    if (asking == core::AppId{i} || its_rehearsal) continue;
    used += std::max(app.exists ? app.limit_bytes : 0, engaged[i]);
  }
  const Bytes total = guest.base_bytes + online;
  return {total, total - std::min(total, used)};
}

Duration World::takes(Span span) {
  const Duration drawn = random.within(span);
  return random.chance(shape.timing.slow) ? drawn * 10 : drawn;
}

void World::in_vmm(core::GuestRun run, Duration delay, std::function<void()> what) {
  timeline.after(delay, [this, run, what = std::move(what)] {
    Vm* machine = living(run);
    if (machine == nullptr || !machine->may_execute()) return;
    if (machine->vmm_runs()) return what();
    machine->for_vmm.push_back([this, run, what] { in_vmm(run, Duration{}, what); });
  });
}

void World::in_monitor(core::GuestRun run, Duration delay, std::function<void()> what) {
  const Time at = vm(run.guest).to_monitor.arrival(now() + delay);
  in_vmm(run, at - now(), std::move(what));
}

void World::in_guest(core::GuestRun run, Duration delay, std::function<void()> what) {
  timeline.after(delay, [this, run, what = std::move(what)] {
    Vm* machine = living(run);
    if (machine == nullptr || !machine->may_execute() || machine->panicked) return;
    if (machine->executes()) return what();
    machine->for_cpu.push_back([this, run, what] { in_guest(run, Duration{}, what); });
  });
}

void World::in_agent(core::GuestRun run, Duration delay, std::function<void()> what) {
  in_guest(run, delay, [this, run, what = std::move(what)] {
    Vm& machine = vm(run.guest);
    if (!machine.agent_silent) return what();
    machine.for_agent.push_back([this, run, what] { in_agent(run, Duration{}, what); });
  });
}

void World::go_on(Vm& machine) {
  std::vector<std::function<void()>> waiting;
  const auto take = [&](std::vector<std::function<void()>>& list) {
    for (auto& what : list) waiting.push_back(std::move(what));
    list.clear();
  };
  if (machine.vmm_runs()) take(machine.for_vmm);
  if (machine.executes()) take(machine.for_cpu);
  if (machine.executes() && !machine.agent_silent) take(machine.for_agent);
  for (auto& what : waiting) what();
}

void World::hand_over(const core::Event& event) {
  if (daemon_up && deliver) deliver(event);
}

void World::post(Duration delay, core::Event event) {
  timeline.after(delay, [this, life = daemon, event = std::move(event)] {
    if (life == daemon) hand_over(event);
  });
}

void World::from_monitor(core::GuestRun run, core::Event event) {
  const Time arrival = vm(run.guest).from_monitor.arrival(now() + takes(shape.timing.monitor));
  post(arrival - now(), std::move(event));
}

void World::from_agent(core::GuestRun run, core::Event event) {
  Vm& machine = vm(run.guest);
  const Time arrival = machine.from_agent.arrival(now() + takes(shape.timing.agent));
  if (random.chance(shape.odds.twice)) {
    post(machine.from_agent.arrival(arrival + takes(shape.timing.agent)) - now(), event);
  }
  timeline.at(arrival, [this, run, life = daemon, event = std::move(event)] {
    if (life != daemon) return;
    const Vm* sender = living(run);
    const bool over = sender == nullptr || !sender->may_execute() || sender->panicked;
    // What a guest had sent before its end is in a buffer of the host or of the guest: either may be lost.
    if (over && !random.chance(shape.odds.from_grave)) return;
    if (!over && sender->linked != daemon) return;
    hand_over(event);
  });
}

void World::boot(core::GuestRun run) {
  if (random.chance(shape.odds.boot_hangs)) return;
  in_guest(run, takes(shape.timing.boot), [this, run] {
    vm(run.guest).booted = true;
    if (daemon_up && vm(run.guest).linked == daemon) greet(run);
    start_beating(run);
  });
}

void World::greet(core::GuestRun run) {
  in_agent(run, takes(shape.timing.agent), [this, run, life = daemon] {
    const Vm& machine = vm(run.guest);
    if (life != daemon || machine.linked != daemon || !machine.booted) return;
    from_agent(run, core::event::AgentGreeted{run, memory(run.guest)});
    for (std::uint32_t i = 0; i < machine.apps.size(); ++i) {
      const AppInside& app = machine.apps[i];
      const core::AppId id{i};
      if (app.exists && app.wants_memory) {
        from_agent(run, core::event::AppWantsMemory{run, id, app.epoch, setup().pool.area_bytes});
      } else if (app.exists && app.restarting) {
        from_agent(run, core::event::AppRestarting{run, id, app.epoch, "exit status 1", app.restarts});
      } else if (app.exists && app.serving) {
        from_agent(run, core::event::AppServing{run, id, app.epoch, 4_MiB, app.areas});
      } else if (app.start_failed) {
        from_agent(run, core::event::AppStartFailed{run, id, app.epoch, app.fault});
      } else if (!app.fault.empty()) {
        from_agent(run, core::event::AppFaulted{run, id, app.epoch, app.fault, ""});
      }
    }
  });
}

void World::start_beating(core::GuestRun run) {
  timeline.after(shape.timing.beat, [this, run] { beat(run); });
}

// Beats skip the channel: one event each keeps a run of minutes fast, and their order against answers does
// not matter to anybody.
void World::beat(core::GuestRun run) {
  const Vm* machine = living(run);
  if (machine == nullptr || !machine->may_execute() || machine->panicked) return;
  if (machine->agent_runs() && machine->linked == daemon) {
    hand_over(core::event::AgentBeat{run, memory(run.guest)});
  }
  start_beating(run);
}

void World::stopped_for_good(Vm& machine) {
  machine.for_vmm.clear();
  machine.for_cpu.clear();
  machine.for_agent.clear();
}

void World::end_process(Vm& machine) {
  machine.process = false;
  stopped_for_good(machine);
  for (AreaTruth& area : areas) {
    if (area.in != machine.run) continue;
    AreaTruth left;
    left.contents = area.contents;
    area = left;
  }
}

// The alarm is the machine's: it comes whatever the daemon has made of it meanwhile.
void World::suspend(core::GuestRun run, Duration alarm) {
  vm(run.guest).suspended = true;
  timeline.after(alarm, [this, run] {
    Vm* machine = living(run);
    if (machine == nullptr || !machine->process || !machine->suspended) return;
    machine->suspended = false;
    go_on(*machine);
  });
}

void World::eject(core::GuestRun run, core::AreaId id, bool seen) {
  AreaTruth& truth = area(id);
  truth.let_go_by = run;
  truth.online = truth.confirmed = false;
  if (!seen) return;
  in_monitor(run, takes(shape.timing.monitor), [this, run, id, life = daemon] {
    // Whom it was told is gone: the next one finds what is mapped without a device.
    if (life == daemon && daemon_up) unmap(run, id);
  });
}

void World::unmap(core::GuestRun run, core::AreaId id) {
  AreaTruth& truth = area(id);
  if (truth.in != run || truth.let_go_by != run) return;  // done already
  truth.in.reset();
  from_monitor(run, core::event::AreaUnplugged{run, id});
}

void World::eject_vcpu(core::GuestRun run, core::AppId app, bool seen) {
  const std::uint32_t left = --vm(run.guest).vcpus[app.value];
  if (seen) from_monitor(run, core::event::VcpusUnplugged{run, app, left, ""});
}

void World::kill_vmm(core::GuestId id, const std::string& how) {
  Vm& machine = vm(id);
  if (!machine.process) return;
  end_process(machine);
  if (machine.launched) {
    from_monitor(machine.run, core::event::GuestExited{machine.run, how});
  } else {
    from_monitor(machine.run, core::event::LaunchFailed{machine.run, "it ended at once: " + how});
  }
}

}  // namespace understudy::sim

#include "sim/hypervisor.hpp"

#include <algorithm>
#include <memory>

namespace understudy::sim {

namespace {

// How long the port waits for a guest that does not co-operate in an unplug.
constexpr Duration kUnplugLimit = std::chrono::seconds(2);
// How long it waits for the monitor of a process that it started.
constexpr Duration kLaunchLimit = std::chrono::seconds(5);
// How long it waits for the monitor of a process that it adopts.
constexpr Duration kAdoptLimit = std::chrono::seconds(1);
// Of a dump, which nobody waits for; every other one fails.
constexpr Duration kDumpTime = std::chrono::milliseconds(400);
constexpr Span kLateLetGo{std::chrono::seconds(3), std::chrono::seconds(30)};
constexpr Span kSlowFence{std::chrono::milliseconds(500), std::chrono::seconds(4)};

}  // namespace

void SimHypervisor::launch(core::GuestRun run) {
  world_.kill_point();
  checkers_.launching(run);
  Vm& vm = world_.vm(run.guest);
  Vm fresh;
  fresh.run = run;
  fresh.definition = world_.setup().guest(run.guest);
  fresh.process = true;
  fresh.linked = world_.daemon;
  fresh.apps.resize(vm.apps.size());
  fresh.vcpus.resize(vm.apps.size());
  // Memory that a former run still had mapped went with its process.
  vm = std::move(fresh);
  world_.timeline.after(kLaunchLimit, [this, run, life = world_.daemon] {
    const Vm* late = world_.living(run);
    if (life != world_.daemon || late == nullptr || late->launched || !late->may_execute()) return;
    world_.kill_vmm(run.guest, "its monitor did not answer");
  });
  const Duration taken = world_.takes(world_.shape.timing.launch);
  const bool refused = world_.host_refuses();
  if (refused || world_.random.chance(world_.shape.odds.launch_fails)) {
    world_.in_vmm(run, taken, [this, run, refused] {
      Vm& failed = world_.vm(run.guest);
      failed.process = false;
      world_.stopped_for_good(failed);
      const char* why = refused ? kRefused : "exit status 1: cannot set up guest memory";
      world_.from_monitor(run, core::event::LaunchFailed{run, why});
    });
    return;
  }
  world_.in_vmm(run, taken, [this, run] {
    world_.vm(run.guest).launched = true;
    world_.from_monitor(run, core::event::GuestLaunched{run, "image 1"});
    world_.boot(run);
  });
}

void SimHypervisor::adopt(core::GuestRun run) {
  world_.kill_point();
  const auto answered = std::make_shared<bool>(false);
  const auto answer = [this, run, answered, life = world_.daemon](bool reached) {
    if (life != world_.daemon || (*answered && !reached)) return;
    *answered = true;
    Vm* vm = world_.living(run);
    if (vm == nullptr || !vm->process) {
      world_.post(Duration{}, core::event::GuestExited{run, "there is no such process"});
      return;
    }
    core::event::GuestAdopted adopted{run, reached && !vm->panic_told, {}, {}, reached};
    for (std::uint32_t i = 0; reached && i < world_.areas.size(); ++i) {
      AreaTruth& area = world_.areas[i];
      if (area.usable_in(run)) adopted.areas.push_back({core::AreaId{i}, area.address});
      if (area.in == run && area.let_go_by == run) area.in.reset();  // mapped without a device
    }
    for (std::uint32_t i = 0; reached && i < vm->vcpus.size(); ++i) {
      if (vm->vcpus[i] > 0) adopted.vcpus.push_back({core::AppId{i}, vm->vcpus[i]});
    }
    vm->launched = true;
    vm->linked = world_.daemon;
    adopted.definition = vm->definition;
    if (vm->definition != core::Definition(world_.setup().guest(run.guest)))
      adopted.outdated = {{"its definition", "another", "the file's"}};
    world_.from_monitor(run, adopted);
    if (reached && vm->panic_told) world_.from_monitor(run, core::event::GuestPanicked{run});
    if (vm->booted) world_.greet(run);
  };
  const Vm* vm = world_.living(run);
  const bool exists = vm != nullptr && vm->process;
  // Asked once; answered when its monitor does, however long that takes.
  if (exists) world_.in_monitor(run, world_.takes(world_.shape.timing.monitor), [answer] { answer(true); });
  const bool told_at_once = exists && vm->vmm_stopped;  // as its state (T) shows
  world_.timeline.after(exists && !told_at_once ? kAdoptLimit : world_.takes(world_.shape.timing.monitor),
                        [answer] { answer(false); });
}

void SimHypervisor::fence(core::GuestRun run) {
  world_.kill_point();
  checkers_.fencing(run);
  const bool slow = world_.random.chance(world_.shape.odds.fence_slow);
  const Duration taken = slow ? world_.random.within(kSlowFence) : world_.takes(world_.shape.timing.fence);
  world_.timeline.after(taken, [this, run, life = world_.daemon] {
    if (life != world_.daemon) return;
    Vm* vm = world_.living(run);
    if (vm == nullptr) {
      world_.post(Duration{}, core::event::GuestFenced{run, "there is no such process"});
      return;
    }
    if (vm->process && !vm->fenced) stop(*vm);
    world_.from_monitor(run, core::event::GuestFenced{run, "every thread of its process is stopped"});
  });
}

// Held by two things, each of which may fail later: a state of QEMU that nothing but its monitor ends, and
// SIGSTOP. What is in any other state, or does not answer, is ended.
void SimHypervisor::stop(Vm& vm) {
  if (vm.suspended || vm.vmm_stopped) return world_.end_process(vm);
  vm.paused = true;
  vm.vmm_stopped = true;
  vm.fenced = true;
  world_.stopped_for_good(vm);
}

void SimHypervisor::probe(core::GuestRun run) {
  world_.kill_point();
  // The answer of a living kernel comes at once; silence takes the port's limit to be sure of.
  const Vm* vm = world_.living(run);
  const bool answers = vm != nullptr && vm->executes() && vm->booted;
  const Duration taken =
      answers ? world_.takes(world_.shape.timing.agent) : world_.takes(world_.shape.timing.probe);
  world_.post(taken, core::event::ProbeAnswer{run, answers, answers ? "" : "no answer from the kernel"});
}

void SimHypervisor::plug(core::GuestRun run, std::span<const core::AreaId> areas) {
  world_.kill_point();
  Duration at{};
  for (const core::AreaId area : areas) {
    checkers_.plugging(run, area);
    at += world_.takes(world_.shape.timing.plug);
    if (world_.random.chance(world_.shape.odds.plug_silent)) continue;
    world_.in_monitor(run, at, [this, run, area] { plug_one(run, area); });
  }
}

void SimHypervisor::plug_one(core::GuestRun run, core::AreaId area) {
  std::uint32_t used = 0;
  std::uint64_t address = world_.definition(run.guest).base_bytes + (1ULL << 32);
  for (const AreaTruth& other : world_.areas) {
    if (other.in != run) continue;
    ++used;
    address = std::max(address, other.address + world_.setup().pool.area_bytes);
  }
  if (used >= world_.definition(run.guest).slots) {
    world_.from_monitor(run, core::event::PlugFailed{run, area, kNoFreeSlot});
    return;
  }
  if (world_.host_refuses() || world_.random.chance(world_.shape.odds.plug_refused)) {
    world_.from_monitor(run, core::event::PlugFailed{run, area, kRefused});
    return;
  }
  if (world_.random.chance(world_.shape.odds.plug_fails)) {
    world_.from_monitor(run, core::event::PlugFailed{run, area, "the guest did not take the device", true});
    return;
  }
  if (world_.area_mapped) world_.area_mapped(area, run);
  AreaTruth& truth = world_.area(area);
  truth = AreaTruth{};
  truth.in = run;
  truth.contents = world_.domain(run.guest);
  truth.address = address;
  world_.from_monitor(run, core::event::AreaPlugged{run, area, address});
}

void SimHypervisor::unplug(core::GuestRun run, std::span<const core::AreaId> areas) {
  world_.kill_point();
  for (const core::AreaId area : areas) {
    checkers_.unplugging(run, area);
    world_.in_monitor(run, world_.takes(world_.shape.timing.unplug),
                      [this, run, area] { unplug_one(run, area); });
  }
}

void SimHypervisor::unplug_one(core::GuestRun run, core::AreaId area) {
  AreaTruth& truth = world_.area(area);
  const Vm& vm = world_.vm(run.guest);
  const auto fail = [&](Duration delay, const char* why) {
    world_.in_vmm(run, delay, [this, run, area, why] {
      world_.from_monitor(run, core::event::UnplugFailed{run, area, why});
    });
  };
  if (world_.host_refuses() || world_.random.chance(world_.shape.odds.unplug_refused)) {
    world_.from_monitor(run, core::event::UnplugFailed{run, area, kRefused, false});
    return;
  }
  if (truth.in == run && truth.let_go_by == run) return world_.unmap(run, area);
  if (truth.in != run) return fail({}, "there is no such device");
  if (!vm.executes()) return fail(kUnplugLimit, "the guest does not answer the request");
  if (truth.online) return fail({}, "the guest keeps it: it is in use");
  if (world_.random.chance(world_.shape.odds.unplug_fails)) return fail(kUnplugLimit, "the guest refused");
  truth.in.reset();
  truth.confirmed = false;
  world_.from_monitor(run, core::event::AreaUnplugged{run, area});
}

void SimHypervisor::begin_looks() {
  if (world_.shape.look > Duration{}) look_at(0, world_.daemon);
}

void SimHypervisor::look_at(std::uint32_t guest, std::uint32_t life) {
  world_.timeline.after(world_.shape.look, [this, guest, life] {
    if (life != world_.daemon) return;
    look_at((guest + 1) % static_cast<std::uint32_t>(world_.vms.size()), life);
    const Vm& vm = world_.vms[guest];
    if (!vm.launched || !vm.may_execute() || !vm.vmm_runs()) return;
    const core::GuestRun run = vm.run;
    world_.in_monitor(run, world_.takes(world_.shape.timing.monitor), [this, run, life] {
      const Vm& now = world_.vm(run.guest);
      if (life != world_.daemon || now.fenced) return;
      core::event::GuestSeen seen{run, {}, std::vector<core::event::PluggedVcpus>{}};
      for (std::uint32_t i = 0; i < world_.areas.size(); ++i) {
        if (world_.areas[i].usable_in(run)) seen.areas.push_back({core::AreaId{i}, world_.areas[i].address});
      }
      for (std::uint32_t i = 0; i < now.vcpus.size(); ++i) {
        if (now.vcpus[i] > 0) seen.vcpus->push_back({core::AppId{i}, now.vcpus[i]});
      }
      world_.from_monitor(run, std::move(seen));
    });
  });
}

void SimHypervisor::dump(core::GuestRun run) {
  world_.kill_point();
  const bool works = run.run % 2 == 1;
  // QEMU has to go on for it, and its own state holds the guest alone meanwhile: it is looked at first.
  if (Vm* vm = world_.living(run); vm != nullptr && vm->process && vm->fenced) {
    if (!vm->paused) {
      world_.end_process(*vm);
      world_.post({}, core::event::DumpDone{run, "", "it was not in the state that it was fenced in"});
      return;
    }
    vm->vmm_stopped = false;
    world_.timeline.after(kDumpTime, [this, run] {
      if (Vm* dumped = world_.living(run); dumped != nullptr && dumped->fenced) dumped->vmm_stopped = true;
    });
  }
  world_.post(kDumpTime, core::event::DumpDone{run, works ? "dump" : "", works ? "" : "no space left"});
}

void SimHypervisor::plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) {
  world_.kill_point();
  checkers_.plugging_vcpus(run, app, count);
  const Duration taken = world_.takes(world_.shape.timing.vcpu) * (count + 1);
  if (world_.random.chance(world_.shape.odds.vcpus_silent)) return;
  world_.in_monitor(run, taken, [this, run, app, count] {
    std::uint32_t& in = world_.vm(run.guest).vcpus[app.value];
    const bool some = in < count && world_.random.chance(world_.shape.odds.vcpus_missing);
    in = some ? static_cast<std::uint32_t>(world_.random.between(in, count - 1)) : std::max(in, count);
    world_.from_monitor(run, core::event::VcpusPlugged{run, app, in, some ? "a device was refused" : ""});
  });
}

void SimHypervisor::unplug_vcpus(core::GuestRun run, core::AppId app) {
  world_.kill_point();
  const Duration taken = world_.takes(world_.shape.timing.vcpu);
  if (world_.random.chance(world_.shape.odds.vcpus_silent)) return;
  world_.in_monitor(run, taken, [this, run, app] { unplug_vcpus_now(run, app); });
}

void SimHypervisor::unplug_vcpus_now(core::GuestRun run, core::AppId app) {
  Vm& vm = world_.vm(run.guest);
  const auto answer = [this, run, app](const char* why) {
    const std::uint32_t left = world_.vm(run.guest).vcpus[app.value];
    world_.from_monitor(run, core::event::VcpusUnplugged{run, app, left, left > 0 ? why : ""});
  };
  std::uint32_t& in = vm.vcpus[app.value];
  if (in > 0 && vm.executes() && world_.random.chance(world_.shape.odds.vcpus_kept)) {
    in = static_cast<std::uint32_t>(world_.random.between(1, in));
    world_.in_vmm(run, kUnplugLimit, [answer] { answer("the guest did not let go"); });
    // It may let go of the rest long after the answer.
    world_.in_guest(run, world_.random.within(kLateLetGo), [this, run, app, answer] {
      std::uint32_t& kept = world_.vm(run.guest).vcpus[app.value];
      if (kept == 0 || world_.vm(run.guest).apps[app.value].exists) return;
      kept = 0;
      answer("");
    });
    return;
  }
  if (vm.executes()) {
    in = 0;
    answer("");
  } else {
    world_.in_vmm(run, kUnplugLimit, [answer] { answer("the guest does not answer the request"); });
  }
}

void SimHypervisor::discard(core::GuestRun run) {
  world_.kill_point();
  checkers_.discarding(run);
  world_.timeline.after(world_.takes(world_.shape.timing.discard), [this, run, life = world_.daemon] {
    if (Vm* vm = world_.living(run)) world_.end_process(*vm);
    // A daemon is answered what it asked itself, not what a former one did.
    if (life == world_.daemon) world_.post(Duration{}, core::event::GuestGone{run});
  });
}

}  // namespace understudy::sim

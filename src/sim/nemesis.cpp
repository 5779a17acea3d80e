#include "sim/nemesis.hpp"

#include "sim/agents.hpp"

#include <algorithm>

namespace understudy::sim {

namespace {

namespace event = core::event;

constexpr Span kShort{std::chrono::milliseconds(20), std::chrono::milliseconds(2500)};
constexpr Span kJournalOutage{std::chrono::milliseconds(20), std::chrono::milliseconds(3000)};
constexpr Span kPanicSeen{std::chrono::milliseconds(3), std::chrono::milliseconds(8)};
constexpr Span kFollowUp{std::chrono::milliseconds(0), std::chrono::milliseconds(500)};
constexpr Span kMaintenance{std::chrono::milliseconds(0), std::chrono::milliseconds(8000)};
constexpr Span kJump{std::chrono::milliseconds(1), std::chrono::minutes(2)};
constexpr Span kStall{std::chrono::milliseconds(50), std::chrono::seconds(20)};
constexpr Span kAlarm{std::chrono::milliseconds(100), std::chrono::milliseconds(8000)};
// How long an agent waits for what it has killed.
constexpr Span kKillPatience{std::chrono::seconds(1), std::chrono::seconds(10)};
constexpr Span kHostRefuses{std::chrono::milliseconds(100), std::chrono::seconds(20)};
constexpr Span kDownFor{std::chrono::milliseconds(100), std::chrono::milliseconds(4000)};

std::uint32_t& times_stuck(Vm& vm, bool Vm::*flag) {
  return vm.stuck[flag == &Vm::hung ? 0 : flag == &Vm::vmm_stopped ? 1 : 2];
}

}  // namespace

const char* fault_name(FaultName fault) {
  switch (fault) {
    case FaultName::panic: return "panic";
    case FaultName::panic_unseen: return "panic-unseen";
    case FaultName::hang: return "hang";
    case FaultName::hang_short: return "hang-short";
    case FaultName::vmm_stop: return "vmm-stop";
    case FaultName::vmm_stop_short: return "vmm-stop-short";
    case FaultName::vmm_kill: return "vmm-kill";
    case FaultName::agent_silent: return "agent-silent";
    case FaultName::agent_silent_short: return "agent-silent-short";
    case FaultName::agent_lost: return "agent-lost";
    case FaultName::app_exit: return "app-exit";
    case FaultName::app_failed: return "app-failed";
    case FaultName::app_hang: return "app-hang";
    case FaultName::app_wants: return "app-wants-memory";
    case FaultName::app_oom: return "app-out-of-memory";
    case FaultName::journal: return "journal-refuses";
    case FaultName::lie: return "agent-lies";
    case FaultName::switchover: return "switchover";
    case FaultName::stop_order: return "stop-order";
    case FaultName::down_and_up: return "down-and-up";
    case FaultName::maintenance: return "maintenance";
    case FaultName::daemon_death: return "daemon-death";
    case FaultName::rehearse: return "rehearse";
    case FaultName::clock_jump: return "clock-jump";
    case FaultName::daemon_stall: return "daemon-stall";
    case FaultName::suspend: return "suspend";
    case FaultName::signal_cont: return "signal-cont";
    case FaultName::monitor_cont: return "monitor-cont";
    case FaultName::app_undying: return "app-does-not-end";
    case FaultName::host_refuses: return "host-refuses";
    case FaultName::agent_restart: return "agent-restarts";
    case FaultName::eject: return "guest-ejects";
    case FaultName::eject_unseen: return "guest-ejects-unseen";
  }
  return "?";
}

void Nemesis::begin() {
  active_ = true;
  called_off_ = false;
  next();
}

void Nemesis::call_off() {
  active_ = false;
  called_off_ = true;
  journal_.refusing = false;
  world_.host_refuses_until = world_.now();
  for (Vm& vm : world_.vms) {
    // What hangs for good stays so: it is to be found and fenced. A silent agent may have been left alone.
    if (!vm.agent_silent) continue;
    vm.agent_silent = false;
    world_.go_on(vm);
  }
}

void Nemesis::next() {
  world_.timeline.after(world_.random.within(world_.shape.fault_gap), [this] {
    if (!active_) return;
    strike();
    if (world_.random.chance(world_.shape.follow_up)) {
      world_.timeline.after(world_.random.within(kFollowUp), [this] {
        if (active_) strike();
      });
    }
    next();
  });
}

void Nemesis::strike() {
  double sum = 0;
  for (const double weight : world_.shape.weights) sum += weight;
  if (sum <= 0) return;
  double drawn = world_.random.fraction(0, sum);
  std::size_t chosen = 0;
  while (chosen + 1 < kFaultNames && drawn >= world_.shape.weights[chosen])
    drawn -= world_.shape.weights[chosen++];
  const core::GuestId guest{static_cast<std::uint32_t>(world_.random.below(world_.vms.size()))};
  const core::AppId app{static_cast<std::uint32_t>(world_.random.below(world_.routes.size()))};
  cause(static_cast<FaultName>(chosen), guest, app);
}

bool Nemesis::cause(FaultName fault, core::GuestId guest, core::AppId app) {
  Vm& vm = world_.vm(guest);
  if (world_.trace) {
    world_.say(std::string("FAULT ") + fault_name(fault) + " " + world_.setup().guest(guest).name + " " +
               world_.setup().app(app).name);
  }
  bool done = true;
  switch (fault) {
    case FaultName::panic:
    case FaultName::panic_unseen:
    case FaultName::hang:
    case FaultName::hang_short:
    case FaultName::vmm_stop:
    case FaultName::vmm_stop_short:
    case FaultName::vmm_kill:
    case FaultName::agent_silent:
    case FaultName::agent_silent_short:
    case FaultName::suspend:
    case FaultName::agent_restart:
    case FaultName::agent_lost: done = cause_in_guest(fault, vm); break;
    case FaultName::eject:
    case FaultName::eject_unseen: done = eject(vm, fault == FaultName::eject); break;
    case FaultName::signal_cont:
    case FaultName::monitor_cont: done = loosen(fault); break;
    case FaultName::app_exit:
    case FaultName::app_failed:
    case FaultName::app_hang:
    case FaultName::app_wants:
    case FaultName::app_oom:
    case FaultName::app_undying: done = cause_in_app(fault, app); break;
    case FaultName::lie: done = lie(app, vm); break;
    case FaultName::journal:
      journal_.refusing = true;
      journal_.keeps_what_it_refuses = world_.random.chance(0.5);
      world_.timeline.after(world_.random.within(kJournalOutage), [this] { journal_.refusing = false; });
      break;
    case FaultName::stop_order: hands_.command(event::StopApp{app}); break;
    case FaultName::switchover: {
      event::Switchover order{app, {}};
      if (world_.random.chance(0.5)) order.to = guest;
      if (world_.shape.weight(FaultName::app_undying) > 0) order.may_fence = world_.random.chance(0.3);
      hands_.command(order);
      break;
    }
    case FaultName::host_refuses:
      world_.host_refuses_until = world_.now() + world_.random.within(kHostRefuses);
      break;
    case FaultName::down_and_up:
      hands_.command(event::BringDown{});
      world_.timeline.after(world_.random.within(kDownFor), [this] {
        // After that, whoever called it off gives the orders.
        if (!called_off_) hands_.command(event::BringUp{});
      });
      break;
    case FaultName::maintenance:
      hands_.command(world_.random.chance(0.5)
                         ? event::Maintenance{guest, {}, world_.random.within(kMaintenance)}
                         : event::Maintenance{{}, app, world_.random.within(kMaintenance)});
      break;
    case FaultName::daemon_death: hands_.kill_daemon(); break;
    case FaultName::rehearse: hands_.command(event::Rehearse{app, world_.random.chance(0.6)}); break;
    case FaultName::clock_jump: hands_.jump_clock(world_.random.within(kJump)); break;
    case FaultName::daemon_stall: hands_.stall_daemon(world_.random.within(kStall)); break;
  }
  if (done) ++caused[static_cast<std::size_t>(fault)];
  return done;
}

bool Nemesis::stick(Vm& vm, bool Vm::*flag) {
  ++times_stuck(vm, flag);
  return vm.*flag = true;
}

bool Nemesis::stick_for_a_while(Vm& vm, bool Vm::*flag) {
  stick(vm, flag);
  world_.timeline.after(world_.random.within(kShort),
                        [this, run = vm.run, flag, which = times_stuck(vm, flag)] {
                          Vm* stuck = world_.living(run);
                          if (stuck == nullptr || !stuck->may_execute() || times_stuck(*stuck, flag) != which)
                            return;
                          stuck->*flag = false;
                          world_.go_on(*stuck);
                        });
  return true;
}

bool Nemesis::cause_in_guest(FaultName fault, Vm& vm) {
  if (!vm.may_execute() || vm.panicked) return false;
  const core::GuestRun run = vm.run;
  switch (fault) {
    case FaultName::panic:
      if (!vm.executes() || !vm.launched) return false;
      vm.panicked = vm.panic_told = true;
      world_.timeline.after(world_.random.within(kPanicSeen), [this, run] {
        if (world_.may_execute(run)) world_.from_monitor(run, event::GuestPanicked{run});
      });
      return true;
    case FaultName::panic_unseen:
      if (!vm.executes()) return false;
      vm.panicked = true;
      return true;
    case FaultName::suspend:
      if (!vm.executes()) return false;
      world_.suspend(run, world_.random.within(kAlarm));
      return true;
    case FaultName::hang: return stick(vm, &Vm::hung);
    case FaultName::hang_short: return stick_for_a_while(vm, &Vm::hung);
    case FaultName::vmm_stop: return stick(vm, &Vm::vmm_stopped);
    case FaultName::vmm_stop_short: return stick_for_a_while(vm, &Vm::vmm_stopped);
    case FaultName::vmm_kill: world_.kill_vmm(run.guest, "killed by signal 9 (SIGKILL)"); return true;
    case FaultName::agent_silent: return stick(vm, &Vm::agent_silent);
    case FaultName::agent_silent_short: return stick_for_a_while(vm, &Vm::agent_silent);
    case FaultName::agent_restart:
      if (!vm.agent_runs()) return false;
      for (AppInside& app : vm.apps) {
        AppInside fresh;
        // What does not end outlives it for certain, anything else perhaps.
        fresh.undying = app.exists && app.undying;
        fresh.exists = fresh.stray = fresh.undying || (app.exists && world_.random.chance(0.5));
        fresh.forgotten = std::max(app.epoch, app.forgotten);
        app = fresh;
      }
      if (world_.daemon_up && vm.linked == world_.daemon) world_.greet(run);
      return true;
    case FaultName::agent_lost:
      if (!vm.agent_runs() || vm.linked != world_.daemon) return false;
      // The channel closes; the daemon connects again and greets.
      world_.post({}, event::AgentLost{run, "the channel was closed"});
      world_.timeline.after(world_.random.within(kShort), [this, run, life = world_.daemon] {
        if (life == world_.daemon && world_.daemon_up && world_.may_execute(run)) world_.greet(run);
      });
      return true;
    default: return false;
  }
}

// One of the two things that hold a fenced guest fails; never the second as well. While a dump is written the
// first is lifted, and the promise rests on the other (docs/threat-model.md).
bool Nemesis::loosen(FaultName fault) {
  for (Vm& vm : world_.vms) {
    if (!vm.process || !vm.fenced || !vm.paused || !vm.vmm_stopped) continue;
    (fault == FaultName::signal_cont ? vm.vmm_stopped : vm.paused) = false;
    return true;
  }
  return false;
}

bool Nemesis::eject(Vm& vm, bool seen) {
  if (!vm.may_execute() || !vm.executes() || !vm.booted) return false;
  std::vector<core::AreaId> areas;
  for (std::uint32_t i = 0; i < world_.areas.size(); ++i) {
    if (world_.areas[i].usable_in(vm.run)) areas.push_back(core::AreaId{i});
  }
  std::vector<core::AppId> with_vcpus;
  for (std::uint32_t i = 0; i < vm.vcpus.size(); ++i) {
    if (vm.vcpus[i] > 0) with_vcpus.push_back(core::AppId{i});
  }
  if (areas.empty() && with_vcpus.empty()) return false;
  if (areas.empty() || (!with_vcpus.empty() && world_.random.chance(0.3))) {
    world_.eject_vcpu(vm.run, world_.random.pick(with_vcpus), seen);
    return true;
  }
  const core::AreaId area = world_.random.pick(areas);
  world_.say("root in " + world_.setup().guest(vm.run.guest).name + " ejects area " +
             std::to_string(area.value));
  world_.eject(vm.run, area, seen);
  return true;
}

bool Nemesis::cause_in_app(FaultName fault, core::AppId app) {
  const auto found = std::find_if(world_.vms.begin(), world_.vms.end(), [&](const Vm& vm) {
    return vm.agent_runs() && vm.apps[app.value].exists && vm.apps[app.value].serving &&
           !vm.apps[app.value].wants_memory && !vm.apps[app.value].restarting;
  });
  if (found == world_.vms.end()) return false;
  const core::GuestRun run = found->run;
  AppInside& inside = found->apps[app.value];
  const core::Epoch epoch = inside.epoch;
  if (fault == FaultName::app_wants) {
    inside.wants_memory = true;
    world_.from_agent(
        run,
        event::AppWantsMemory{run, app, epoch, world_.setup().pool.area_bytes * world_.random.between(1, 3)});
    return true;
  }
  if (fault == FaultName::app_exit && ++inside.restarts <= world_.shape.most_restarts) {
    inside.restarting = true;
    world_.from_agent(run, event::AppRestarting{run, app, epoch, "exit status 1", inside.restarts});
    world_.in_agent(run, world_.takes(world_.shape.timing.start), [this, run, app, epoch] {
      AppInside& now = world_.vm(run.guest).apps[app.value];
      if (!now.exists || now.ending || now.undying || now.wants_memory || now.epoch != epoch) return;
      now.restarting = false;
      world_.from_agent(run, event::AppServing{run, app, epoch, 4_MiB, now.areas});
    });
    return true;
  }
  inside.serving = false;
  if (fault == FaultName::app_undying) {
    inside.undying = true;
    if (world_.random.chance(0.5))
      world_.from_agent(run, event::AppRestarting{run, app, epoch, "its health check failed", 0, {}, true});
    world_.in_agent(run, world_.random.within(kKillPatience), [this, run, app, epoch] {
      const AppInside& now = world_.vm(run.guest).apps[app.value];
      if (!now.undying || now.ending || now.epoch != epoch) return;
      world_.from_agent(run, event::StopFailed{run, app, epoch, "a process in state D is still there"});
    });
    return true;
  }
  inside.exists = false;
  inside.fault = fault == FaultName::app_hang  ? "its health check failed three times"
                 : fault == FaultName::app_oom ? "out of memory"
                                               : "killed by signal 11 (SIGSEGV), restarts used up";
  world_.from_agent(run, event::AppFaulted{run, app, epoch, inside.fault, "last words"});
  return true;
}

// Words that no agent of ours says. What it could make the daemon believe of an application that really is
// with it is not among them: about that a guest is its own witness.
bool Nemesis::lie(core::AppId app, Vm& vm) {
  if (!vm.agent_runs() || vm.linked != world_.daemon) return false;
  const core::GuestRun run = vm.run;
  const core::AppRecord& record = journal_.app(app);
  core::Epoch epoch = record.epoch;
  if (record.in && record.in->guest == run.guest) epoch += world_.random.chance(0.5) ? 1 : -1;
  std::vector<core::AreaId> areas;
  for (std::uint32_t i = 0; i < world_.areas.size() + 3; ++i) areas.push_back(core::AreaId{i});
  switch (world_.random.below(11)) {
    case 0: world_.from_agent(run, event::NeedStated{run, app, epoch, ~0ULL}); break;
    case 1: world_.from_agent(run, event::AreasEngaged{run, app, epoch, {1_GiB, 1_GiB}}); break;
    case 2: world_.from_agent(run, event::EngageFailed{run, app, epoch, "made up"}); break;
    case 3: world_.from_agent(run, event::AppServing{run, app, epoch, ~0ULL, areas}); break;
    case 4: world_.from_agent(run, event::AppStartFailed{run, app, epoch, "made up"}); break;
    case 5: world_.from_agent(run, event::AppFaulted{run, app, epoch, "made up", ""}); break;
    case 6: world_.from_agent(run, event::AppStopped{run, app, epoch}); break;
    case 7: world_.from_agent(run, event::AreasReleased{run, app, epoch, areas, ""}); break;
    case 8: world_.from_agent(run, event::AppWantsMemory{run, app, epoch, ~0ULL}); break;
    case 9: {
      event::AppsStated lie = stated_by(vm);
      lie.apps.push_back({app, epoch, true, false, ""});
      world_.from_agent(run, lie);
      break;
    }
    default: world_.from_agent(run, event::AgentMisbehaved{run, "a line of 20 KiB"}); break;
  }
  return true;
}

}  // namespace understudy::sim

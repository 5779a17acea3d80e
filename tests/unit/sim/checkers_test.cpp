// Planted bugs: something between the engine and the world does what the engine must not do, and the checkers
// have to see it. A checker that nothing can fail checks nothing.
#include "planted.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace understudy::sim {
namespace {

using namespace test;
namespace action = core::action;
namespace event = core::event;

TEST_F(Planted, NothingPlantedNothingFound) {
  make(plain_shape(2, 1), [](World&, engine::Ports ports) { return ports; });
  take_over();
  EXPECT_EQ(simulation_->observer.takeovers, 1U);
  EXPECT_FALSE(simulation_->violation()) << violation();
}

TEST_F(Planted, AFenceThatIsOnlyClaimed) {
  struct Bug : PassHypervisor {
    Bug(engine::Hypervisor& hypervisor, World& w) : PassHypervisor(hypervisor), world(w) {}
    void fence(core::GuestRun run) override { world.post({}, event::GuestFenced{run, "surely"}); }
    World& world;
  };
  make(plain_shape(2, 1), [&](World& simulated, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor, simulated);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over(FaultName::hang);
  // The first thing that happens to it: its areas are in two guests that may both execute.
  expect_violation("which the table does not know");
}

// Fences that stop the guest for now. Each accepts one thing that does hold it, but not for good; the world
// undoes each of them.
struct WeakFence : PassHypervisor {
  WeakFence(engine::Hypervisor& hypervisor, World& w) : PassHypervisor(hypervisor), world(w) {}
  void fence(core::GuestRun run) override {
    Vm& vm = world.vm(run.guest);
    if (vm.run != run || !vm.process || !accept(vm)) return next.fence(run);
    vm.fenced = true;
    world.stopped_for_good(vm);
    world.post({}, event::GuestFenced{run, "it does not run"});
  }
  virtual bool accept(Vm& vm) = 0;
  World& world;
};

// In QEMU's words: "running": false.
struct AcceptsSuspension : WeakFence {
  using WeakFence::WeakFence;
  bool accept(Vm& vm) override { return vm.suspended; }
};
struct AcceptsASignal : WeakFence {
  using WeakFence::WeakFence;
  bool accept(Vm& vm) override { return vm.vmm_stopped = true; }
};
struct AcceptsAState : WeakFence {
  using WeakFence::WeakFence;
  bool accept(Vm& vm) override { return vm.paused = true; }
};

TEST_F(Planted, AFenceThatAcceptsAStopWhichWakes) {
  make(plain_shape(2, 1), [&](World& simulated, engine::Ports ports) {
    hypervisor_ = std::make_unique<AcceptsSuspension>(ports.hypervisor, simulated);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over(FaultName::suspend);
  expect_violation("alpha (run 1) executes although it was said to be stopped");
}

TEST_F(Planted, AFenceThatAcceptsOneOfTwoThingsAndThatFails) {
  struct Case {
    const char* what;
    FaultName undo;
    std::function<std::unique_ptr<engine::Hypervisor>(engine::Hypervisor&, World&)> fence;
  };
  const Case cases[] = {
      {"SIGSTOP, and somebody sends SIGCONT", FaultName::signal_cont,
       [](auto& hypervisor, auto& world) { return std::make_unique<AcceptsASignal>(hypervisor, world); }},
      {"QEMU's state, and something ends that", FaultName::monitor_cont,
       [](auto& hypervisor, auto& world) { return std::make_unique<AcceptsAState>(hypervisor, world); }},
      {"both, and one fails", FaultName::signal_cont, {}},
      {"both, and the other fails", FaultName::monitor_cont, {}},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.what);
    make(plain_shape(2, 1), [&](World& simulated, engine::Ports ports) {
      if (!each.fence) return ports;
      hypervisor_ = each.fence(ports.hypervisor, simulated);
      return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                           ports.agents, ports.pool,    ports.observer};
    });
    simulation_->start_daemon();
    simulation_->command(event::BringUp{});
    ASSERT_TRUE(simulation_->run_until([&] { return simulation_->observer.first_starts == 1; },
                                       std::chrono::seconds(60)));
    simulation_->nemesis.cause(FaultName::hang, core::GuestId{0}, core::AppId{0});
    ASSERT_TRUE(simulation_->run_until([&] { return world().vm(core::GuestId{0}).fenced; },
                                       std::chrono::seconds(10)));
    // A hang ends by itself; whatever holds the guest is all that keeps it from running.
    world().vm(core::GuestId{0}).hung = false;
    Vm& vm = world().vm(core::GuestId{0});
    (each.undo == FaultName::signal_cont ? vm.vmm_stopped : vm.paused) = false;
    simulation_->run_for(std::chrono::seconds(30));
    if (each.fence) {
      expect_violation("alpha (run 1) executes although it was said to be stopped");
    } else {
      EXPECT_FALSE(simulation_->violation()) << violation();
      EXPECT_EQ(simulation_->observer.takeovers, 1U);
    }
  }
}

TEST_F(Planted, AFenceThatIsSkippedForAnotherGuestsAreas) {
  // Areas are taken out of the table's guest without its being stopped: an unplug that is only claimed.
  struct Bug : PassHypervisor {
    Bug(engine::Hypervisor& hypervisor, World& w) : PassHypervisor(hypervisor), world(w) {}
    void unplug(core::GuestRun run, std::span<const core::AreaId> areas) override {
      for (const core::AreaId area : areas) world.post({}, event::AreaUnplugged{run, area});
    }
    World& world;
  };
  make(plain_shape(2, 1), [&](World& simulated, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor, simulated);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over(FaultName::app_failed);
  expect_violation("which the table does not know");
}

TEST_F(Planted, AnAreaInTwoGuests) {
  struct Bug : PassHypervisor {
    using PassHypervisor::PassHypervisor;
    void plug(core::GuestRun run, std::span<const core::AreaId> areas) override {
      next.plug(run, areas);
      next.plug(run, areas);
    }
  };
  make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("is plugged into alpha (run 1) while alpha (run 1) has it");
}

TEST_F(Planted, AnApplicationStartedBeforeItsMemoryIsConfirmed) {
  struct Bug : PassAgents {
    Bug(engine::AgentLink& agents, World& w) : PassAgents(agents), world(w) {}
    void ask_engage(const action::AskEngage& a) override {
      world.post({}, event::AreasEngaged{a.run, a.app, a.epoch, {10_GiB, 10_GiB}});
    }
    World& world;
  };
  make(plain_shape(2, 1), [&](World& simulated, engine::Ports ports) {
    agents_ = std::make_unique<Bug>(ports.agents, simulated);
    return engine::Ports{ports.clock, ports.journal, ports.gate,    ports.hypervisor,
                         *agents_,    ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("is started on alpha (run 1), which has not confirmed area 0");
}

TEST_F(Planted, AnApplicationStartedTwice) {
  struct Bug : PassAgents {
    Bug(engine::AgentLink& agents, World& w) : PassAgents(agents), world(w) {}
    void ask_start(const action::AskStart& a) override {
      next.ask_start(a);
      action::AskStart other = a;
      other.run = world.vm(core::GuestId{1 - a.run.guest.value}).run;
      other.areas.clear();
      next.ask_start(other);
    }
    World& world;
  };
  make(plain_shape(2, 1), [&](World& simulated, engine::Ports ports) {
    agents_ = std::make_unique<Bug>(ports.agents, simulated);
    return engine::Ports{ports.clock, ports.journal, ports.gate,    ports.hypervisor,
                         *agents_,    ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("db is started on beta");
}

// The checker of the running applications themselves, without the one of the requests.
TEST_F(Planted, AnApplicationRunningTwice) {
  make(plain_shape(2, 1), {});
  simulation_->start_daemon();
  simulation_->command(event::BringUp{});
  ASSERT_TRUE(simulation_->run_until([&] { return simulation_->observer.first_starts == 1; },
                                     std::chrono::seconds(60)));
  world().vm(core::GuestId{1}).apps[0].exists = true;
  simulation_->run_for(std::chrono::seconds(1));
  expect_violation("db runs on alpha (run 1) and on beta (run 1)");
}

TEST_F(Planted, AForgottenArea) {
  // The world has an area in a guest of which no record and no row of the table speaks.
  make(plain_shape(2, 1), {});
  simulation_->start_daemon();
  simulation_->command(event::BringUp{});
  ASSERT_TRUE(simulation_->run_until([&] { return simulation_->observer.first_starts == 1; },
                                     std::chrono::seconds(60)));
  world().area(core::AreaId{0}).in = world().vm(core::GuestId{1}).run;
  simulation_->run_for(std::chrono::seconds(1));
  expect_violation("area 0 is in beta (run 1), which the table does not know");
}

TEST_F(Planted, ActingBeforeTheJournalSaysSo) {
  struct Bug : engine::Journal {
    Result<void> append(std::span<const core::Record>) override { return {}; }
  };
  make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
    journal_ = std::make_unique<Bug>();
    return engine::Ports{ports.clock,  *journal_,  ports.gate,    ports.hypervisor,
                         ports.agents, ports.pool, ports.observer};
  });
  take_over();
  expect_violation("alpha (run 1) is launched before the journal says so");
}

// Each kind of request is compared with the journal: the one record that speaks of it is lost.
TEST_F(Planted, EachRequestBeforeTheJournalSaysSo) {
  struct Case {
    const char* what;
    FaultName fault;
    std::function<bool(const core::Record&)> lost;
  };
  const auto area = [](core::AreaState state) {
    return [state](const core::Record& r) {
      const auto* a = std::get_if<core::AreaRecord>(&r);
      return a != nullptr && a->state == state;
    };
  };
  const auto app = [](core::AppDurable state) {
    return [state](const core::Record& r) {
      const auto* a = std::get_if<core::AppRecord>(&r);
      return a != nullptr && a->state == state;
    };
  };
  const std::vector<Case> cases = {
      {"is plugged into alpha (run 1) before the journal", FaultName::panic, area(core::AreaState::plugging)},
      {"is asked to let go of area 0 before the journal", FaultName::app_failed,
       area(core::AreaState::releasing)},
      {"is unplugged from alpha (run 1) before the journal", FaultName::app_failed,
       area(core::AreaState::unplugging)},
      {"is started on alpha (run 1) before the journal", FaultName::panic, app(core::AppDurable::moving)},
      {"leads to alpha (run 1) before the journal", FaultName::panic, app(core::AppDurable::serving)},
      {"is removed before the journal says that it is fenced", FaultName::panic,
       [](const core::Record& r) {
         const auto* g = std::get_if<core::GuestRecord>(&r);
         return g != nullptr && g->state == core::GuestDurable::fenced;
       }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    struct Bug : engine::Journal {
      Bug(engine::Journal& journal, std::function<bool(const core::Record&)> l)
          : next(journal), lost(std::move(l)) {}
      Result<void> append(std::span<const core::Record> records) override {
        std::vector<core::Record> rest(records.begin(), records.end());
        std::erase_if(rest, lost);
        return next.append(rest);
      }
      engine::Journal& next;
      std::function<bool(const core::Record&)> lost;
    };
    make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
      journal_ = std::make_unique<Bug>(ports.journal, c.lost);
      return engine::Ports{ports.clock,  *journal_,  ports.gate,    ports.hypervisor,
                           ports.agents, ports.pool, ports.observer};
    });
    take_over(c.fault);
    expect_violation(c.what);
  }
}

TEST_F(Planted, ARouteToTheWrongGuest) {
  struct Bug : engine::AddressGate {
    Bug(engine::AddressGate& gate, World& w) : next(gate), world(w) {}
    void withdraw(core::AppId app) override { next.withdraw(app); }
    void route(core::AppId app, core::GuestRun) override {
      world.routes[app.value] = world.vm(core::GuestId{1}).run;
    }
    engine::AddressGate& next;
    World& world;
  };
  make(plain_shape(2, 1), [&](World& simulated, engine::Ports ports) {
    gate_ = std::make_unique<Bug>(ports.gate, simulated);
    return engine::Ports{ports.clock,  ports.journal, *gate_,        ports.hypervisor,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("clients of db reach beta (run 1) while it runs on alpha (run 1)");
}

TEST_F(Planted, AWithdrawalThatIsSkipped) {
  make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
    gate_ = std::make_unique<GateThatSkipsWithdrawals>(ports.gate);
    return engine::Ports{ports.clock,  ports.journal, *gate_,        ports.hypervisor,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("clients of db reach alpha (run 1) while it runs on beta (run 1)");
}

TEST_F(Planted, AScrubThatIsOnlyClaimed) {
  struct Bug : engine::Pool {
    explicit Bug(World& w) : world(w) {}
    void scrub(core::AreaId area) override { world.post({}, event::AreaScrubbed{area}); }
    World& world;
  };
  Shape shape = plain_shape(2, 1);
  shape.setup.guests[1].trust_domain = "other";
  make(shape, [&](World& simulated, engine::Ports ports) {
    pool_ = std::make_unique<Bug>(simulated);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    ports.hypervisor,
                         ports.agents, *pool_,        ports.observer};
  });
  take_over();
  expect_violation("with what default wrote");
}

TEST_F(Planted, AGuestRemovedWhileItMayExecute) {
  struct Bug : PassHypervisor {
    using PassHypervisor::PassHypervisor;
    void fence(core::GuestRun run) override { next.discard(run); }
  };
  make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("is removed before the journal says that it is fenced");
}

TEST_F(Planted, ASecondProcessOfAGuest) {
  struct Bug : PassHypervisor {
    using PassHypervisor::PassHypervisor;
    void launch(core::GuestRun run) override {
      next.launch(run);
      next.launch(run);
    }
  };
  make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("while the process of its former run exists");
}

TEST_F(Planted, ABudgetThatIsTooSmall) {
  Shape shape = plain_shape(2, 1);
  shape.setup.pool.budget_bytes -= 1;
  make(shape, {});
  take_over();
  expect_violation("guests and areas use");
}

// Liveness: a request that is lost for good is noticed when the world has to be whole.
TEST_F(Planted, ALaunchThatIsForgotten) {
  struct Bug : PassHypervisor {
    using PassHypervisor::PassHypervisor;
    void launch(core::GuestRun run) override {
      if (run.run < 2) next.launch(run);
    }
  };
  make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  EXPECT_EQ(simulation_->not_whole(), "alpha is not back");
}

TEST_F(Planted, AStaleMessageWithAnEffectIsNoticed) {
  // A journal that forgets how far a guest has come makes its present life look like a former one to nobody;
  // a world that delivers the words of a run that is to come makes the present one look stale.
  make(plain_shape(2, 1), {});
  simulation_->start_daemon();
  simulation_->command(event::BringUp{});
  ASSERT_TRUE(simulation_->run_until([&] { return simulation_->observer.first_starts == 1; },
                                     std::chrono::seconds(60)));
  core::GuestRecord future = simulation_->journal.guest(core::GuestId{0});
  future.run = 9;
  const std::vector<core::Record> records = {future};
  simulation_->journal.keep(records);
  world().hand_over(event::GuestPanicked{{core::GuestId{0}, 1}});
  expect_violation("a stale message had an effect: alpha (run 1) panics");
}

// A daemon that reads its file for a guest that was started with another: the standby that has too few slots
// by what it was started with, and is of another trust domain by it.
class ChangedFile : public Planted {
 protected:
  void restart_with_another_file() {
    Shape shape = plain_shape(2, 1);
    shape.setup.guests[1].trust_domain = "other";
    make(shape, {});
    simulation_->start_daemon();
    simulation_->command(event::BringUp{});
    ASSERT_TRUE(simulation_->run_until([&] { return simulation_->observer.first_starts == 1; },
                                       std::chrono::seconds(60)));
    simulation_->kill_daemon();
    world().shape.setup.guests[1].trust_domain = "default";
    simulation_->start_daemon();
    simulation_->run_for(std::chrono::seconds(3));
  }
  void lose_the_active_one() {
    simulation_->nemesis.cause(FaultName::panic, core::GuestId{0}, core::AppId{0});
    simulation_->run_for(std::chrono::seconds(30));
  }
};

TEST_F(ChangedFile, WhatAGuestWasStartedWithIsTrueOfIt) {
  restart_with_another_file();
  EXPECT_FALSE(simulation_->state()->guest(core::GuestId{1}).outdated.empty());
  lose_the_active_one();
  EXPECT_FALSE(simulation_->violation()) << violation();
  EXPECT_EQ(simulation_->observer.takeovers, 1U);
  EXPECT_EQ(simulation_->not_whole(), "");
}

TEST_F(ChangedFile, TheFileReadForAnOlderRunIsNoticed) {
  restart_with_another_file();
  // As if nothing had been written down.
  simulation_->kill_daemon();
  const Deliver deliver = world().deliver;
  world().deliver = [deliver](const core::Event& event) {
    auto changed = event;
    if (auto* adopted = std::get_if<event::GuestAdopted>(&changed)) adopted->definition.reset();
    deliver(changed);
  };
  simulation_->start_daemon();
  simulation_->run_for(std::chrono::seconds(3));
  expect_violation("is taken for what it was not started with");
}

Shape shape_with_vcpus() {
  Shape shape = plain_shape(2, 1);
  shape.setup.apps[0].vcpus = 2;
  return shape;
}

TEST_F(Planted, ClientsThatAreLedToAnApplicationBeingRestartedInPlace) {
  for (const FaultName fault : {FaultName::app_exit, FaultName::app_wants}) {
    make(plain_shape(2, 1), [&](World&, engine::Ports ports) {
      gate_ = std::make_unique<GateThatSkipsWithdrawals>(ports.gate);
      return engine::Ports{ports.clock,  ports.journal, *gate_,        ports.hypervisor,
                           ports.agents, ports.pool,    ports.observer};
    });
    take_over(fault);
    expect_violation("while it is being restarted there");
  }
}

TEST_F(Planted, AnApplicationRestartedInPlaceHasItsClientsAgain) {
  for (const FaultName fault : {FaultName::app_exit, FaultName::app_wants}) {
    make(plain_shape(2, 1), [](World&, engine::Ports ports) { return ports; });
    take_over(fault);
    EXPECT_FALSE(simulation_->violation()) << violation();
    EXPECT_EQ(simulation_->not_whole(), "");
  }
}

TEST_F(Planted, VcpusThatFollowAreWell) {
  make(shape_with_vcpus(), [](World&, engine::Ports ports) { return ports; });
  take_over(FaultName::app_failed);
  EXPECT_EQ(simulation_->observer.takeovers, 1U);
  EXPECT_FALSE(simulation_->violation()) << violation();
  EXPECT_EQ(simulation_->not_whole(), "");
}

TEST_F(Planted, VcpusThatAreLeftBehind) {
  struct Bug : PassHypervisor {
    Bug(engine::Hypervisor& hypervisor, World& w) : PassHypervisor(hypervisor), world(w) {}
    void unplug_vcpus(core::GuestRun run, core::AppId app) override {
      world.post({}, event::VcpusUnplugged{run, app, 0, ""});
    }
    World& world;
  };
  make(shape_with_vcpus(), [&](World& simulated, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor, simulated);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over(FaultName::app_failed);
  expect_violation("which the table does not know");
}

TEST_F(Planted, VcpusThatNeverCome) {
  struct Bug : PassHypervisor {
    Bug(engine::Hypervisor& hypervisor, World& w) : PassHypervisor(hypervisor), world(w) {}
    void plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) override {
      world.post({}, event::VcpusPlugged{run, app, count, ""});
    }
    World& world;
  };
  make(shape_with_vcpus(), [&](World& simulated, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor, simulated);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  EXPECT_NE(simulation_->not_whole().find("has 0 vCPUs"), std::string::npos) << simulation_->not_whole();
}

TEST_F(Planted, VcpusForWhoeverDoesNotServe) {
  struct Bug : PassHypervisor {
    using PassHypervisor::PassHypervisor;
    void plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) override {
      next.plug_vcpus({core::GuestId{1 - run.guest.value}, run.run}, app, count);
    }
  };
  make(shape_with_vcpus(), [&](World&, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  take_over();
  expect_violation("where it does not serve");
}

}  // namespace
}  // namespace understudy::sim

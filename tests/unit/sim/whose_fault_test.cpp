// Planted bugs about who pays for a fault: an application that does not end, a host that refuses, a plan.
#include "planted.hpp"

#include <memory>

namespace understudy::sim {
namespace {

using namespace test;
namespace event = core::event;

// The word that an application does not end is ignored, as it was once outside of a planned stop.
TEST_F(Planted, AnApplicationThatDoesNotServeIsShownAsServing) {
  make(plain_shape(2, 1), [](World&, engine::Ports ports) { return ports; });
  world().deliver = [inner = world().deliver](const core::Event& event) {
    const bool tells = std::holds_alternative<event::StopFailed>(event) ||
                       std::holds_alternative<event::AppRestarting>(event);
    if (!tells) inner(event);
  };
  take_over(FaultName::app_undying);
  expect_violation("db is shown as serving on alpha (run 1) for 20 s, and does not serve");
}

TEST_F(Planted, AnApplicationThatDoesNotEndIsTakenOver) {
  make(plain_shape(2, 1), [](World&, engine::Ports ports) { return ports; });
  take_over(FaultName::app_undying);
  EXPECT_FALSE(simulation_->violation()) << violation();
  EXPECT_EQ(simulation_->observer.takeovers, 1U);
}

// The host refuses everything while alpha is taken over.
class RefusingHost : public Planted {
 protected:
  void take_over_meanwhile(bool blames_the_guest) {
    make(plain_shape(3, 1), [](World&, engine::Ports ports) { return ports; });
    if (blames_the_guest) {
      world().deliver = [inner = world().deliver](const core::Event& event) {
        core::Event told = event;
        if (auto* failed = std::get_if<event::PlugFailed>(&told)) failed->tried_in_guest = true;
        inner(told);
      };
    }
    simulation_->start_daemon();
    simulation_->command(event::BringUp{});
    ASSERT_TRUE(simulation_->run_until([&] { return simulation_->observer.first_starts == 1; },
                                       std::chrono::seconds(60)));
    world().host_refuses_until = world().now() + std::chrono::seconds(15);
    simulation_->nemesis.cause(FaultName::panic, core::GuestId{0}, core::AppId{0});
    simulation_->run_for(std::chrono::seconds(60));
  }
};

TEST_F(RefusingHost, FencesNobodyAndIsTriedUntilItDoesNotRefuse) {
  take_over_meanwhile(false);
  EXPECT_FALSE(simulation_->violation()) << violation();
  EXPECT_EQ(simulation_->observer.takeovers, 1U);
  EXPECT_EQ(world().vms[1].run.run, 1U);
  EXPECT_EQ(world().vms[2].run.run, 1U);
}

TEST_F(RefusingHost, ForWhichAHealthyGuestIsFenced) {
  take_over_meanwhile(true);
  expect_violation("is fenced for what the host could not do");
}

// db leaves alpha, where web serves, by order, and alpha does not let go of its memory.
class OrderedAway : public Planted {
 protected:
  void order(Simulation::Wrap wrap, bool may_fence = false) {
    Shape shape = plain_shape(2, 2);
    make(std::move(shape), std::move(wrap));
    simulation_->start_daemon();
    simulation_->command(event::BringUp{});
    ASSERT_TRUE(simulation_->run_until([&] { return simulation_->observer.first_starts == 2; },
                                       std::chrono::seconds(60)));
    world().shape.odds.release_partial = 1;
    simulation_->command(event::Switchover{core::AppId{0}, {}, may_fence});
    simulation_->run_for(std::chrono::seconds(20));
  }
};

TEST_F(OrderedAway, IsGivenUpAndServesAgainWhereItWas) {
  order([](World&, engine::Ports ports) { return ports; });
  EXPECT_FALSE(simulation_->violation()) << violation();
  EXPECT_EQ(world().vms[0].run.run, 1U);
  EXPECT_TRUE(world().vms[0].apps[0].serving);
  EXPECT_TRUE(world().vms[0].apps[1].serving);
}

TEST_F(OrderedAway, MayCostTheOthersTheirGuestWhenThatWasAllowed) {
  order([](World&, engine::Ports ports) { return ports; }, true);
  EXPECT_FALSE(simulation_->violation()) << violation();
  EXPECT_EQ(world().vms[0].run.run, 2U);
  EXPECT_TRUE(world().vms[1].apps[0].serving);
}

TEST_F(OrderedAway, AndTheOthersLoseTheirGuestForIt) {
  struct Bug : PassHypervisor {
    using PassHypervisor::PassHypervisor;
    void unplug(core::GuestRun run, std::span<const core::AreaId> areas) override {
      next.unplug(run, areas);
      next.fence(run);
    }
  };
  order([&](World&, engine::Ports ports) {
    hypervisor_ = std::make_unique<Bug>(ports.hypervisor);
    return engine::Ports{ports.clock,  ports.journal, ports.gate,    *hypervisor_,
                         ports.agents, ports.pool,    ports.observer};
  });
  expect_violation("alpha (run 1) is fenced for a planned move, and web serves there");
}

}  // namespace
}  // namespace understudy::sim

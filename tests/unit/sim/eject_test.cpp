// Root in a guest gives away what the guest was given, in every step of a takeover; told, and not told.
#include "planted.hpp"
#include "steps.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace understudy::sim {
namespace {

using namespace test;
namespace event = core::event;

std::unique_ptr<Simulation> serving(Duration look) {
  Shape shape = plain_shape(3, 2);
  for (core::AppSetup& app : shape.setup.apps) app.vcpus = 2;
  shape.look = look;
  auto simulation = std::make_unique<Simulation>(shape, 11);
  simulation->start_daemon();
  simulation->command(event::BringUp{});
  EXPECT_TRUE(simulation->run_until([&] { return simulation->observer.first_starts == 2; },
                                    std::chrono::seconds(60)));
  simulation->run_for(std::chrono::seconds(1));
  return simulation;
}

class Ejects : public ::testing::TestWithParam<FaultName> {};

TEST_P(Ejects, InEveryStepOfATakeover) {
  for (const std::string step : {"attaching", "onlining", "starting"}) {
    SCOPED_TRACE(step);
    auto simulation = serving(std::chrono::milliseconds(500));
    simulation->nemesis.cause(FaultName::panic, kAlpha, kDb);
    ASSERT_TRUE(simulation->run_until(
        [&] {
          const auto* moving = simulation->state()->app(kDb).moving();
          return moving != nullptr && core::move_step_name(moving->move.step) == step &&
                 simulation->nemesis.cause(GetParam(), kBeta, kDb);
        },
        std::chrono::seconds(30)))
        << "it never was in this step";
    simulation->run_for(std::chrono::seconds(5));
    expect_recovery(*simulation);
  }
}

TEST_P(Ejects, EverythingThatItHasWhileItServes) {
  auto simulation = serving(std::chrono::milliseconds(500));
  int ejected = 0;
  while (simulation->nemesis.cause(GetParam(), kAlpha, kDb)) ++ejected;
  EXPECT_GE(ejected, 4);
  simulation->run_for(std::chrono::seconds(8));
  EXPECT_FALSE(simulation->violation());
  EXPECT_EQ(simulation->state()->table.count_in({kAlpha, 1}), 0U) << "the table still has what is not there";
  EXPECT_NE(simulation->state()->app(kDb).serving(), nullptr);
  expect_recovery(*simulation);
}

INSTANTIATE_TEST_SUITE_P(Both, Ejects, ::testing::Values(FaultName::eject, FaultName::eject_unseen),
                         [](const auto& each) { return as_test_name(fault_name(each.param)); });

// Without looks nobody would ever know.
TEST(EjectsPlanted, AHypervisorThatNeverLooksIsNoticed) {
  auto simulation = serving({});
  simulation->nemesis.cause(FaultName::eject_unseen, kAlpha, kDb);
  while (simulation->nemesis.cause(FaultName::eject_unseen, kAlpha, kDb)) continue;
  simulation->run_for(std::chrono::seconds(40));
  ASSERT_TRUE(simulation->violation());
  EXPECT_NE(simulation->violation()->what.find("is shown in alpha (run 1) for 30 s, and is not there"),
            std::string::npos)
      << simulation->violation()->what;
}

// An area whose device is gone is mapped until the hypervisor has been told to let go of it.
TEST_F(Planted, AnAreaThatIsOnlyNotSeenIsNotGivenAway) {
  Shape shape = plain_shape(2, 1);
  shape.look = std::chrono::milliseconds(500);
  make(shape, [](World&, engine::Ports ports) { return ports; });
  world().deliver = [this, inner = world().deliver](const core::Event& event) {
    inner(event);
    // As a core would that takes a look for the whole truth.
    if (const auto* seen = std::get_if<event::GuestSeen>(&event); seen != nullptr && !seen->areas.empty()) {
      for (std::uint32_t i = 0; i < world().areas.size(); ++i) {
        if (world().areas[i].let_go_by == seen->run) inner(event::AreaUnplugged{seen->run, core::AreaId{i}});
      }
    }
  };
  simulation_->start_daemon();
  simulation_->command(event::BringUp{});
  simulation_->run_for(std::chrono::seconds(10));
  world().eject(world().vms[0].run, core::AreaId{0}, false);
  simulation_->run_for(std::chrono::seconds(10));
  expect_violation("area 0 is in alpha (run 1), which the table does not know");
}

}  // namespace
}  // namespace understudy::sim

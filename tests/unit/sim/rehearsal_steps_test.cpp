// Every kind of fault and order in every step of a rehearsal, over the simulated hypervisor.
#include "steps.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace understudy::sim {
namespace {

using namespace test;
namespace event = core::event;

// With room to rehearse.
Shape rehearsed_shape(std::size_t guests, std::size_t apps) {
  Shape shape = plain_shape(guests, apps);
  shape.setup.pool.area_count += 5;
  shape.setup.pool.budget_bytes += 5 * shape.setup.pool.area_bytes;
  shape.setup.apps[0].maximum_bytes += 2 * shape.setup.pool.area_bytes;
  shape.setup = core::with_rehearsals(shape.setup);
  return shape;
}

std::unique_ptr<Simulation> brought_up(std::size_t guests, std::size_t apps) {
  auto simulation = std::make_unique<Simulation>(rehearsed_shape(guests, apps), 7);
  simulation->start_daemon();
  simulation->command(event::BringUp{});
  const auto may_be_rehearsed = [&] {
    const core::State& state = *simulation->state();
    return simulation->not_whole().empty() && core::why_no_rehearsal(state, state.app(kDb), true).empty();
  };
  EXPECT_TRUE(simulation->run_until(may_be_rehearsed, std::chrono::seconds(60)));
  return simulation;
}

std::string step_of_twin(const Simulation& simulation) {
  if (simulation.state() == nullptr) return "daemon down";
  const core::Application& twin = simulation.state()->app(*core::twin_of(simulation.world.setup(), kDb));
  return twin.moving() != nullptr ? core::move_step_name(twin.moving()->move.step) : "none";
}

struct RehearsalCase {
  std::string step;
  FaultName fault;
  core::GuestId guest;
};

std::string name_of_rehearsal(const ::testing::TestParamInfo<RehearsalCase>& info) {
  return as_test_name(info.param.step + "_" + fault_name(info.param.fault) + "_" +
                      (info.param.guest == kAlpha ? "active" : "standby"));
}

std::vector<RehearsalCase> every_rehearsal() {
  const std::vector<FaultName> faults = {
      FaultName::panic,       FaultName::panic_unseen, FaultName::hang,         FaultName::vmm_stop_short,
      FaultName::vmm_kill,    FaultName::agent_lost,   FaultName::agent_silent, FaultName::journal,
      FaultName::app_failed,  FaultName::app_exit,     FaultName::app_wants,    FaultName::switchover,
      FaultName::maintenance, FaultName::down_and_up,  FaultName::daemon_death, FaultName::clock_jump,
      FaultName::daemon_stall};
  std::vector<RehearsalCase> cases;
  for (const FaultName fault : faults) {
    for (const std::string step : {"sizing", "attaching", "onlining", "starting", "stopping", "releasing"}) {
      cases.push_back({step, fault, kAlpha});
      cases.push_back({step, fault, kBeta});
    }
  }
  return cases;
}

class EveryStepOfARehearsal : public ::testing::TestWithParam<RehearsalCase> {};

TEST_P(EveryStepOfARehearsal, IsRecoveredFrom) {
  const RehearsalCase& c = GetParam();
  auto simulation = brought_up(3, 2);
  simulation->command(event::Rehearse{kDb, true});
  ASSERT_TRUE(
      simulation->run_until([&] { return step_of_twin(*simulation) == c.step; }, std::chrono::seconds(30)))
      << "it never was in this step: "
      << (simulation->violation() ? simulation->violation()->what : step_of_twin(*simulation));
  simulation->nemesis.cause(c.fault, c.guest, kDb);
  simulation->run_for(std::chrono::seconds(12));
  expect_recovery(*simulation);
  EXPECT_EQ(step_of_twin(*simulation), "none");
}

INSTANTIATE_TEST_SUITE_P(Fault, EveryStepOfARehearsal, ::testing::ValuesIn(every_rehearsal()),
                         name_of_rehearsal);

// A takeover that finds a rehearsal in its way takes no longer than one that does not, but for the end of
// what was started.
TEST(RehearsalInTheWay, CostsATakeoverNoMoreThanTheEndOfWhatRuns) {
  const auto takeover = [](const std::string& step) {
    auto simulation = brought_up(2, 1);
    if (!step.empty()) {
      simulation->command(event::Rehearse{kDb, true});
      EXPECT_TRUE(
          simulation->run_until([&] { return step_of_twin(*simulation) == step; }, std::chrono::seconds(30)));
    }
    simulation->nemesis.cause(FaultName::panic, kAlpha, kDb);
    EXPECT_TRUE(
        simulation->run_until([&] { return simulation->observer.takeovers == 1; }, std::chrono::seconds(30)));
    const core::Application& db = simulation->state()->app(kDb);
    EXPECT_EQ(db.serving()->on.guest, kBeta);
    const core::Application& twin = simulation->state()->app(*core::twin_of(simulation->world.setup(), kDb));
    EXPECT_EQ(twin.moving(), nullptr);
    return simulation->observer.last->total();
  };
  const Timing timing;
  const Duration alone = takeover("");
  for (const std::string step : {"sizing", "attaching", "onlining", "starting", "stopping"}) {
    const Duration grace = timing.stop.longest + timing.plug.longest + 2 * timing.online.longest +
                           2 * timing.start.longest;  // a start of its own is drawn anew
    EXPECT_LT(takeover(step), alone + grace) << step;
  }
}

}  // namespace
}  // namespace understudy::sim

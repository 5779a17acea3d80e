// The shipped engine over the simulated hypervisor: every kind of fault in every step of a takeover and of a
// switchover, one after the other.
#include "steps.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace understudy::sim {
namespace {

using namespace test;
namespace event = core::event;

std::string step_of(const Simulation& simulation) {
  if (simulation.state() == nullptr) return "daemon down";
  const core::Application& app = simulation.state()->app(kDb);
  if (const auto* moving = app.moving()) return core::move_step_name(moving->move.step);
  if (app.serving() != nullptr) return app.serving()->unrouted ? "routing" : "serving";
  return "other";
}

std::unique_ptr<Simulation> brought_up(std::uint64_t seed) {
  auto simulation = std::make_unique<Simulation>(plain_shape(3, 2), seed);
  simulation->start_daemon();
  simulation->command(event::BringUp{});
  EXPECT_TRUE(simulation->run_until([&] { return simulation->observer.first_starts == 2; },
                                    std::chrono::seconds(60)));
  return simulation;
}

struct Case {
  std::string way;  // takeover, switchover, app-fault
  std::string step;
  FaultName fault;
  core::GuestId guest;
};

std::string name_of_case(const ::testing::TestParamInfo<Case>& info) {
  return as_test_name(info.param.way + "_" + info.param.step + "_" + fault_name(info.param.fault) + "_" +
                      (info.param.guest == kAlpha ? "from" : "to"));
}

std::vector<Case> every_case() {
  const std::vector<FaultName> faults = {
      FaultName::panic,      FaultName::panic_unseen,       FaultName::hang,       FaultName::hang_short,
      FaultName::vmm_stop,   FaultName::vmm_stop_short,     FaultName::vmm_kill,   FaultName::agent_silent,
      FaultName::agent_lost, FaultName::agent_silent_short, FaultName::journal,    FaultName::daemon_death,
      FaultName::switchover, FaultName::down_and_up,        FaultName::clock_jump, FaultName::daemon_stall};
  std::vector<Case> cases;
  for (const FaultName fault : faults) {
    for (const std::string step : {"fencing", "sizing", "attaching", "onlining", "starting", "routing"}) {
      cases.push_back({"takeover", step, fault, kBeta});
    }
    for (const std::string step : {"stopping", "releasing", "sizing", "attaching", "onlining", "starting"}) {
      cases.push_back({"switchover", step, fault, kAlpha});
      cases.push_back({"switchover", step, fault, kBeta});
    }
    for (const std::string step : {"releasing", "starting"}) {
      cases.push_back({"app_fault", step, fault, kAlpha});
      cases.push_back({"app_fault", step, fault, kBeta});
    }
  }
  return cases;
}

class EveryStep : public ::testing::TestWithParam<Case> {};

TEST_P(EveryStep, RecoversFromTheFault) {
  const Case& c = GetParam();
  auto simulation = brought_up(11);
  if (c.way == "takeover") simulation->nemesis.cause(FaultName::panic, kAlpha, kDb);
  if (c.way == "switchover") simulation->command(event::Switchover{kDb, kBeta});
  if (c.way == "app_fault") simulation->nemesis.cause(FaultName::app_failed, kAlpha, kDb);
  ASSERT_TRUE(simulation->run_until([&] { return step_of(*simulation) == c.step; }, std::chrono::seconds(30)))
      << "it never was in this step";
  simulation->nemesis.cause(c.fault, c.guest, kDb);
  simulation->run_for(std::chrono::seconds(5));
  expect_recovery(*simulation);
}

INSTANTIATE_TEST_SUITE_P(Fault, EveryStep, ::testing::ValuesIn(every_case()), name_of_case);

// What was asked for goes wrong by itself, always, until it is put right after a while.
TEST(EveryOdds, EachRequestThatFailsAlwaysAndThenNoMore) {
  const std::vector<std::pair<const char*, double Odds::*>> odds = {
      {"launch_fails", &Odds::launch_fails},
      {"boot_hangs", &Odds::boot_hangs},
      {"fence_slow", &Odds::fence_slow},
      {"plug_fails", &Odds::plug_fails},
      {"plug_silent", &Odds::plug_silent},
      {"unplug_fails", &Odds::unplug_fails},
      {"need_silent", &Odds::need_silent},
      {"engage_fails", &Odds::engage_fails},
      {"engage_silent", &Odds::engage_silent},
      {"start_fails", &Odds::start_fails},
      {"start_hangs", &Odds::start_hangs},
      {"stop_fails", &Odds::stop_fails},
      {"stop_hangs", &Odds::stop_hangs},
      {"release_partial", &Odds::release_partial},
      {"release_hangs", &Odds::release_hangs},
      {"release_lies", &Odds::release_lies},
      {"twice", &Odds::twice},
      {"from_grave", &Odds::from_grave}};
  for (const auto& [name, odd] : odds) {
    for (const std::string way : {"takeover", "switchover", "app_fault"}) {
      SCOPED_TRACE(std::string(name) + " " + way);
      auto simulation = brought_up(5);
      simulation->world.shape.odds.*odd = 1;
      if (way == "takeover") simulation->nemesis.cause(FaultName::panic, kAlpha, kDb);
      if (way == "switchover") simulation->command(event::Switchover{kDb, kBeta});
      if (way == "app_fault") simulation->nemesis.cause(FaultName::app_failed, kAlpha, kDb);
      simulation->run_for(std::chrono::seconds(60));
      simulation->world.shape.odds = Odds{};
      expect_recovery(*simulation);
    }
  }
}

}  // namespace
}  // namespace understudy::sim

// The daemon is killed at every request and every journal record of a move, one after the other, while guests
// go on. What comes of it is the same as without the kill.
#include "core/state.hpp"
#include "sim/simulation.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace understudy::sim {
namespace {

namespace event = core::event;

constexpr core::GuestId kAlpha{0};
constexpr core::GuestId kBeta{1};
constexpr core::AppId kDb{0};

enum class Way { first_start, takeover, vmm_kill, switchover, app_fault, given_up, growth, going_down };

const char* name_of(Way way) {
  switch (way) {
    case Way::first_start: return "first_start";
    case Way::takeover: return "takeover";
    case Way::vmm_kill: return "vmm_kill";
    case Way::switchover: return "switchover";
    case Way::app_fault: return "app_fault";
    case Way::given_up: return "given_up";
    case Way::growth: return "growth";
    case Way::going_down: return "going_down";
  }
  return "?";
}

Shape shape_for(Way way) {
  Shape shape = plain_shape(2, 2);
  shape.setup.pool.area_count = 10;
  shape.setup.pool.budget_bytes += 2 * shape.setup.pool.area_bytes;
  if (way == Way::given_up) shape.setup.apps[0].hot_standby = false;
  if (way == Way::growth) shape.setup.apps[0].maximum_bytes = 700_MiB;
  return shape;
}

void begin(Simulation& simulation, Way way) {
  switch (way) {
    case Way::first_start: simulation.command(event::BringUp{}); break;
    case Way::takeover: simulation.nemesis.cause(FaultName::panic, kAlpha, kDb); break;
    case Way::vmm_kill: simulation.nemesis.cause(FaultName::vmm_kill, kAlpha, kDb); break;
    case Way::switchover: simulation.command(event::Switchover{kDb, kBeta}); break;
    case Way::app_fault:
    case Way::given_up: simulation.nemesis.cause(FaultName::app_failed, kAlpha, kDb); break;
    case Way::growth: simulation.nemesis.cause(FaultName::app_wants, kAlpha, kDb); break;
    case Way::going_down: simulation.command(event::BringDown{}); break;
  }
}

bool can_be_ordered(const Simulation& simulation) {
  const core::State* state = simulation.state();
  return state != nullptr && core::why_no_switchover(*state, state->app(kDb), false).empty();
}

bool settled(const Simulation& simulation, Way way) {
  if (!simulation.daemon_up()) return false;
  if (way == Way::going_down) return simulation.not_down().empty();
  const core::AppRecord& db = simulation.journal.app(kDb);
  if (way == Way::given_up) return db.state == core::AppDurable::failed;
  if (!simulation.not_whole().empty()) return false;
  if (way == Way::first_start) return true;
  if (way == Way::growth) return !simulation.world.vm(kAlpha).apps[0].wants_memory;
  return db.epoch > 1 && db.state == core::AppDurable::serving;
}

// Where everything is in the end, in a line.
std::string outcome(const Simulation& simulation) {
  std::string text;
  for (const core::AppRecord& app : simulation.journal.apps()) {
    text += std::string(core::app_durable_name(app.state)) +
            (app.in ? " on " + std::to_string(app.in->guest.value) : "");
    std::size_t areas = 0;
    for (const core::AreaRecord& area : simulation.journal.areas()) areas += area.user == app.app ? 1 : 0;
    text += " with " + std::to_string(areas) + "; ";
  }
  return text;
}

class KilledAtEveryRequest : public ::testing::TestWithParam<Way> {};

TEST_P(KilledAtEveryRequest, TheOutcomeIsTheSame) {
  const Way way = GetParam();
  const auto prepared = [&] {
    auto simulation = std::make_unique<Simulation>(shape_for(way), 3);
    simulation->start_daemon();
    if (way != Way::first_start) {
      simulation->command(event::BringUp{});
      EXPECT_TRUE(simulation->run_until([&] { return simulation->observer.first_starts == 2; },
                                        std::chrono::seconds(60)));
    }
    return simulation;
  };
  auto undisturbed = prepared();
  const std::uint64_t from = undisturbed->world.points;
  begin(*undisturbed, way);
  ASSERT_TRUE(undisturbed->run_until([&] { return settled(*undisturbed, way); }, std::chrono::seconds(60)));
  const std::uint64_t until = undisturbed->world.points;
  const std::string expected = outcome(*undisturbed);
  ASSERT_GT(until - from, 5U);

  std::uint64_t killed = 0;
  for (std::uint64_t point = from + 1; point <= until; ++point) {
    SCOPED_TRACE("killed at request " + std::to_string(point - from) + " of " + std::to_string(until - from));
    auto simulation = prepared();
    simulation->world.die_at = point;
    begin(*simulation, way);
    // A command whose daemon died before it was written down was never answered: the operator repeats it.
    const bool lost = !simulation->daemon_up();
    if (lost) {
      simulation->run_until([&] { return simulation->daemon_up(); }, std::chrono::seconds(20));
      const bool was_command = way == Way::first_start || way == Way::switchover || way == Way::going_down;
      const bool written = simulation->journal.app(kDb).state == core::AppDurable::leaving ||
                           (way == Way::first_start && simulation->journal.written() > 0);
      // Refused, and repeated, until the guest's agent has answered the new daemon.
      simulation->run_until([&] { return way != Way::switchover || can_be_ordered(*simulation); },
                            std::chrono::seconds(20));
      if (was_command && !written) begin(*simulation, way);
    }
    EXPECT_TRUE(simulation->run_until([&] { return settled(*simulation, way); }, std::chrono::seconds(120)))
        << (simulation->violation() ? simulation->violation()->what : simulation->not_whole()) << "; "
        << outcome(*simulation);
    if (way == Way::switchover || way == Way::given_up || way == Way::going_down) {
      EXPECT_EQ(outcome(*simulation), expected);
    }
    killed += simulation->world.daemon > 1 ? 1 : 0;
    if (HasFailure()) break;
  }
  EXPECT_EQ(killed, until - from) << "the daemon really died at each of them";
}

INSTANTIATE_TEST_SUITE_P(Way, KilledAtEveryRequest,
                         ::testing::Values(Way::first_start, Way::takeover, Way::vmm_kill, Way::switchover,
                                           Way::app_fault, Way::given_up, Way::growth, Way::going_down),
                         [](const auto& tested) { return name_of(tested.param); });

TEST(DaemonDeath, ApplicationsRunOnWhileItIsAway) {
  Simulation simulation(plain_shape(2, 1), 3);
  simulation.start_daemon();
  simulation.command(event::BringUp{});
  ASSERT_TRUE(
      simulation.run_until([&] { return simulation.observer.first_starts == 1; }, std::chrono::seconds(60)));
  simulation.kill_daemon();
  simulation.run_for(std::chrono::seconds(60));
  EXPECT_TRUE(simulation.world.vm(kAlpha).apps[0].serving);
  simulation.start_daemon();
  ASSERT_TRUE(simulation.run_until([&] { return simulation.not_whole().empty(); }, std::chrono::seconds(20)))
      << simulation.not_whole();
  EXPECT_EQ(simulation.world.vm(kAlpha).apps[0].epoch, 1U) << "it was not touched";
}

TEST(DaemonDeath, WhatFailsWhileItIsAwayIsTakenOverWhenItIsBack) {
  for (const FaultName fault :
       {FaultName::panic, FaultName::vmm_kill, FaultName::hang, FaultName::vmm_stop}) {
    SCOPED_TRACE(fault_name(fault));
    Simulation simulation(plain_shape(2, 1), 3);
    simulation.start_daemon();
    simulation.command(event::BringUp{});
    ASSERT_TRUE(simulation.run_until([&] { return simulation.observer.first_starts == 1; },
                                     std::chrono::seconds(60)));
    simulation.kill_daemon();
    simulation.nemesis.cause(fault, kAlpha, kDb);
    simulation.run_for(std::chrono::seconds(1));
    simulation.start_daemon();
    ASSERT_TRUE(
        simulation.run_until([&] { return simulation.not_whole().empty(); }, std::chrono::seconds(60)))
        << simulation.not_whole();
    EXPECT_TRUE(simulation.world.vm(kBeta).apps[0].serving);
  }
}

}  // namespace
}  // namespace understudy::sim

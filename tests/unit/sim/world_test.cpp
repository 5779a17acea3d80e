// The simulated world must show no fault that the real one cannot show. Each of these was once a violation
// that only the simulator was to blame for.
#include "sim/simulation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace understudy::sim {
namespace {

namespace event = core::event;

constexpr core::GuestRun kAlphaRun{core::GuestId{0}, 1};
constexpr core::AppId kOnlyApp{0};

// The ports by themselves, with a list in the place of the daemon.
class WorldTest : public ::testing::Test {
 protected:
  WorldTest() : world_(plain_shape(1, 1), 1), journal_(world_.setup()), checkers_(world_, journal_) {
    world_.daemon = 1;
    world_.daemon_up = true;
    world_.deliver = [this](const core::Event& event) { events_.push_back(event); };
  }
  void pass(Duration time) {
    const Time end = world_.now() + time;
    world_.timeline.at(end, [] {});
    while (world_.now() < end) world_.timeline.step();
  }
  template <class Event>
  [[nodiscard]] std::size_t count() const {
    return static_cast<std::size_t>(std::count_if(
        events_.begin(), events_.end(), [](const auto& e) { return std::holds_alternative<Event>(e); }));
  }
  void restart_daemon() { world_.daemon += 2; }
  [[nodiscard]] AppInside& db() { return world_.vm(kAlphaRun.guest).apps[kOnlyApp.value]; }

  World world_;
  MemoryJournal journal_;
  Checkers checkers_;
  std::vector<core::Event> events_;
};

class AgentsTest : public WorldTest {
 protected:
  AgentsTest() {
    Vm& vm = world_.vm(kAlphaRun.guest);
    vm.run = kAlphaRun;
    vm.process = vm.launched = vm.booted = true;
    vm.linked = world_.daemon;
  }
  SimAgents agents_{world_, checkers_};
};

TEST_F(AgentsTest, AStartThatFailedFailsAgainWhenItIsRepeated) {
  world_.shape.odds.start_fails = 1;
  agents_.ask_start({kAlphaRun, kOnlyApp, 1, 500_MiB, {}});
  pass(std::chrono::seconds(2));
  ASSERT_EQ(count<event::AppStartFailed>(), 1U);
  world_.shape.odds.start_fails = 0;
  agents_.ask_start({kAlphaRun, kOnlyApp, 1, 500_MiB, {}});
  pass(std::chrono::seconds(2));
  EXPECT_EQ(count<event::AppStartFailed>(), 2U);
  EXPECT_EQ(count<event::AppServing>(), 0U);
  EXPECT_FALSE(db().exists);
}

TEST_F(AgentsTest, AnApplicationThatIsBeingEndedIsSaidToBe) {
  agents_.ask_start({kAlphaRun, kOnlyApp, 1, 500_MiB, {}});
  pass(std::chrono::seconds(2));
  ASSERT_EQ(count<event::AppServing>(), 1U);
  world_.shape.timing.stop = Span{std::chrono::seconds(1), std::chrono::seconds(1)};
  agents_.ask_stop({kAlphaRun, kOnlyApp, 1});
  agents_.ask_state({kAlphaRun});
  agents_.ask_start({kAlphaRun, kOnlyApp, 1, 500_MiB, {}});
  pass(std::chrono::milliseconds(500));
  EXPECT_TRUE(db().exists);
  ASSERT_EQ(count<event::AppsStated>(), 1U);
  const auto& stated = std::get<event::AppsStated>(events_.at(1)).apps.at(0);
  EXPECT_TRUE(stated.runs);
  EXPECT_TRUE(stated.ending);
  EXPECT_EQ(count<event::AppStartFailed>(), 1U);
  pass(std::chrono::seconds(1));
  EXPECT_EQ(count<event::AppStopped>(), 1U);
  EXPECT_FALSE(db().exists);
}

TEST_F(WorldTest, AFailingLaunchOfAStoppedProcessEndsWithItsLimit) {
  SimHypervisor hypervisor(world_, checkers_);
  world_.shape.odds.launch_fails = 1;
  hypervisor.launch(kAlphaRun);
  world_.vm(kAlphaRun.guest).vmm_stopped = true;
  pass(std::chrono::seconds(4));
  EXPECT_EQ(count<event::LaunchFailed>(), 0U);
  pass(std::chrono::seconds(2));
  EXPECT_EQ(count<event::LaunchFailed>(), 1U);
}

TEST_F(WorldTest, ADaemonIsNotAnsweredWhatAFormerOneAsked) {
  SimHypervisor hypervisor(world_, checkers_);
  hypervisor.launch(kAlphaRun);
  pass(std::chrono::seconds(1));
  hypervisor.discard(kAlphaRun);
  restart_daemon();
  pass(std::chrono::seconds(1));
  EXPECT_FALSE(world_.vm(kAlphaRun.guest).process) << "it was removed all the same";
  EXPECT_EQ(count<event::GuestGone>(), 0U);
}

TEST_F(WorldTest, AWakeUpOfAFormerDaemonSwallowsNoneOfTheNext) {
  int ticks = 0;
  SimClock clock(world_, [&] { ++ticks; });
  clock.wake_at(world_.now() + std::chrono::seconds(1));
  clock.forget();
  restart_daemon();
  clock.wake_at(world_.now() + std::chrono::seconds(2));
  pass(std::chrono::seconds(3));
  EXPECT_EQ(ticks, 1);
}

// The daemon brings everything up whenever it is started, and who wanted it down says so again.
TEST(Operator, AnOrderIsRepeatedToADaemonThatIsStartedAgain) {
  for (const bool up : {true, false}) {
    SCOPED_TRACE(up ? "up" : "down");
    Simulation simulation(plain_shape(2, 1), 3);
    simulation.start_daemon();
    if (!up) {
      simulation.command(event::BringUp{});
      ASSERT_TRUE(simulation.run_until([&] { return simulation.observer.first_starts == 1; },
                                       std::chrono::seconds(60)));
    }
    simulation.world.die_at = simulation.world.points + 1;
    simulation.command(up ? core::Event(event::BringUp{}) : core::Event(event::BringDown{}));
    ASSERT_FALSE(simulation.daemon_up());
    const auto done = [&] { return (up ? simulation.not_whole() : simulation.not_down()).empty(); };
    EXPECT_TRUE(simulation.run_until(done, std::chrono::seconds(60)))
        << (up ? simulation.not_whole() : simulation.not_down());
  }
}

}  // namespace
}  // namespace understudy::sim

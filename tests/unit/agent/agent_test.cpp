#include "agent/agent.hpp"

#include "harness.hpp"

#include <gtest/gtest.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

TEST(AgentTest, SaysHelloAndAgainWhenGreeted) {
  Harness harness;
  const auto hello = harness.hear<from::Hello>();
  EXPECT_EQ(hello.version, protocol::kVersion);
  EXPECT_EQ(hello.mem_total_bytes, 128_MiB);
  EXPECT_EQ(hello.block_bytes, 128_MiB);
  harness.send(to::Greet{});
  EXPECT_EQ(harness.hear<from::Hello>().session, hello.session);
}

TEST(AgentTest, BeatsOnlyOnceWelcomedAndAtTheGivenInterval) {
  Harness harness;
  (void)harness.hear<from::Hello>();
  harness.pass(100ms);
  EXPECT_EQ(harness.count<from::Beat>(), 0u);
  harness.send(to::Welcome{protocol::kVersion, "alpha", 1, 20, {}});
  const Time began = Loop::now();
  ASSERT_TRUE(harness.until([&] { return harness.count<from::Beat>() >= 20; }));
  EXPECT_GE(Loop::now() - began, 18 * 20ms);
}

TEST(AgentTest, ADaemonOfAnotherVersionIsNotObeyed) {
  Harness harness;
  (void)harness.hear<from::Hello>();
  harness.send(to::Welcome{protocol::kVersion + 1, "alpha", 1, 20, {}});
  harness.pass(100ms);
  EXPECT_EQ(harness.count<from::Beat>(), 0u);
}

TEST(AgentTest, NeedIsComputedFromWhatIsAvailable) {
  Harness harness;
  harness.files.set_memory(256);  // available: half
  harness.send(to::Need{1, 7, 100_MiB});
  const auto need = harness.hear<from::Need>();
  EXPECT_EQ(need.available_bytes, 96_MiB);
  EXPECT_EQ(need.required_bytes, 104_MiB);
  EXPECT_EQ(need.missing_bytes, (8_MiB * 64 + 62) / 63);
}

TEST(AgentTest, GarbageIsReportedAndDoesNotStopIt) {
  Harness harness;
  harness.welcome({});
  harness.send_raw("garbage\n{}\n{\"type\":\"nonsense\"}\n" +
                   std::string(protocol::kMaxLineToAgent + 10, 'x') + "\n");
  EXPECT_NE(harness.hear<from::Log>().text.find("not a JSON object"), std::string::npos);
  EXPECT_NE(harness.hear<from::Log>().text.find("no \"type\""), std::string::npos);
  EXPECT_NE(harness.hear<from::Log>().text.find("unknown message type"), std::string::npos);
  EXPECT_NE(harness.hear<from::Log>().text.find("a line longer than 65536 bytes"), std::string::npos);
  harness.send(to::Query{});
  (void)harness.hear<from::State>();
}

TEST(AgentTest, AnApplicationThatIsNotHereCannotBeStarted) {
  Harness harness;
  harness.welcome({});
  harness.send(to::Start{5, 7, 0, {}});
  EXPECT_EQ(harness.hear<from::StartFailed>().app, 5u);
  harness.send(to::Stop{5, 7});
  EXPECT_EQ(harness.hear<from::StopFailed>().app, 5u);
}

TEST(AgentTest, ApplicationsOutliveTheDaemonAndTheNextOneIsTold) {
  Harness harness;
  harness.welcome({script("exec sleep 60")});
  harness.send(to::Start{1, 7, 512_MiB, {3, 4}});
  const auto serving = harness.hear<from::Serving>();
  harness.connection.reset();
  harness.loop->run_once(50ms);
  // The daemon comes back; this time the application has another number in its configuration.
  harness.accept();
  auto renumbered = script("exec sleep 60");
  renumbered.app = 4;
  harness.welcome({renumbered});
  const auto again = harness.hear<from::Serving>();
  EXPECT_EQ(again.pid, serving.pid);
  EXPECT_EQ(again.app, 4u);
  EXPECT_EQ(again.epoch, 7u);
  EXPECT_EQ(again.areas, (std::vector<std::uint32_t>{3, 4}));
  harness.send(to::Query{});
  const auto state = harness.hear<from::State>();
  EXPECT_EQ(state.apps, (std::vector<from::AppState>{{4, 7, protocol::Phase::serving}}));
}

TEST(AgentTest, AFaultThatTheDaemonMissedIsToldToTheNext) {
  Harness harness;
  auto app = script("exec sleep 60");
  app.restart.attempts = 0;
  harness.welcome({app});
  harness.send(to::Start{1, 7, 0, {}});
  const auto serving = harness.hear<from::Serving>();
  harness.connection.reset();
  harness.loop->run_once(10ms);
  ::kill(static_cast<pid_t>(serving.pid), SIGKILL);
  for (int i = 0; i < 20; ++i) harness.loop->run_once(5ms);
  harness.accept();
  harness.welcome({app});
  EXPECT_EQ(harness.hear<from::Faulted>().cause,
            "killed by signal 9 (SIGKILL); restarts in place are switched off");
}

TEST(AgentTest, AnApplicationThatIsNoLongerConfiguredIsEnded) {
  Harness harness;
  harness.welcome({script("exec sleep 60")});
  harness.send(to::Start{1, 7, 0, {}});
  const auto pid = static_cast<pid_t>(harness.hear<from::Serving>().pid);
  harness.send(to::Greet{});
  harness.welcome({});
  EXPECT_TRUE(harness.until([&] { return ::kill(pid, 0) != 0; }));
}

TEST(AgentTest, SilenceIsSilenceAndThenEverythingComes) {
  Harness harness;
  harness.welcome({}, 20);
  (void)harness.hear<from::Beat>();
  const Time began = Loop::now();
  harness.send(to::Drill{protocol::DrillKind::silence, 0, 1000});
  harness.send(to::Query{});
  (void)harness.hear<from::State>();
  EXPECT_GE(Loop::now() - began, 1000ms);
  EXPECT_LT(harness.count<from::Beat>(), 25u);  // of the 50 that there would have been
  (void)harness.hear<from::Beat>();
}

TEST(AgentTest, MemoryThatAnApplicationHasInAreasIsNotOfTheBase) {
  Harness harness;
  harness.files.set(32, "online\n");
  harness.files.set_memory(128 + 126);
  harness.welcome({script("exec sleep 60")});
  harness.send(to::Engage{1, 7, {{3, 32 * test::MemoryDirectory::kBlock, test::MemoryDirectory::kBlock}}});
  (void)harness.hear<from::Engaged>();
  harness.send(to::Start{1, 7, 200_MiB, {3}});
  EXPECT_EQ(harness.hear<from::Serving>().base_use_bytes, 200_MiB - 126_MiB);
}

}  // namespace
}  // namespace understudy::agent

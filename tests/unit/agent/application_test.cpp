#include "agent/process_state.hpp"
#include "harness.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

// Zombies execute nothing any more.
bool alive(std::uint32_t pid) {
  const auto state = read_process_state(static_cast<pid_t>(pid));
  return state && !state->ended();
}

// Every test runs with both kinds of container; the cgroup kind needs a machine that lets us make one.
class ApplicationTest : public testing::TestWithParam<bool> {
 protected:
  ApplicationTest() {
    if (!GetParam()) {
      harness = std::make_unique<Harness>();
      return;
    }
    cgroup = std::make_unique<test::CgroupRoot>(test::find_cgroup_root());
    if (cgroup->made()) harness = std::make_unique<Harness>(cgroup->path());
  }
  void SetUp() override {
    if (!harness) GTEST_SKIP() << "no writable cgroup v2 here";
  }
  from::Serving start(const protocol::Application& app, protocol::Epoch epoch = 7) {
    harness->welcome({app});
    harness->send(to::Start{1, epoch, 0, {}});
    return harness->hear<from::Serving>();
  }
  std::unique_ptr<test::CgroupRoot> cgroup;
  std::unique_ptr<Harness> harness;  // ends first
};

INSTANTIATE_TEST_SUITE_P(, ApplicationTest, testing::Bool(),
                         [](const auto& which) { return which.param ? "cgroup" : "session"; });

TEST_P(ApplicationTest, StartsServesAndStops) {
  const auto serving = start(script("exec sleep 60"));
  EXPECT_EQ(serving.epoch, 7u);
  EXPECT_TRUE(alive(serving.pid));
  harness->send(to::Stop{1, 7});
  EXPECT_EQ(harness->hear<from::Stopped>().epoch, 7u);
  EXPECT_FALSE(alive(serving.pid));
}

TEST_P(ApplicationTest, WhatCannotBeExecutedSaysSo) {
  auto app = script("");
  app.start = {"/no/such/program"};
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  EXPECT_EQ(harness->hear<from::StartFailed>().why,
            "it cannot be executed: /no/such/program: No such file or directory");
}

TEST_P(ApplicationTest, AnUnknownUserSaysSo) {
  auto app = script("exec sleep 60");
  app.user = "nobody-of-that-name";
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  EXPECT_NE(harness->hear<from::StartFailed>().why.find("nobody-of-that-name"), std::string::npos);
}

TEST_P(ApplicationTest, AnEndBeforeItIsReadyFailsTheStartWithEvidence) {
  auto app = script("echo one; echo the reason >&2; exit 3");
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  const auto failed = harness->hear<from::StartFailed>();
  EXPECT_EQ(failed.why, "exit status 3");
  EXPECT_EQ(failed.evidence, "one\nthe reason\n");
}

TEST_P(ApplicationTest, NotReadyWithinItsLimitFailsTheStart) {
  auto app = script("exec sleep 60");
  app.ready = protocol::Ready::notify;
  app.start_limit_ms = 100;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  EXPECT_EQ(harness->hear<from::StartFailed>().why,
            "it was not ready within 100 ms; it has not said READY=1");
}

TEST_P(ApplicationTest, ServesOnceItHasNotified) {
  auto app = script("exec sleep 60");
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  harness->pass(50ms);
  EXPECT_EQ(harness->count<from::Serving>(), 0u);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = harness->files.path() + "/run/notify-test";
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(
      ::sendto(socket.get(), "READY=1", 7, 0, reinterpret_cast<const sockaddr*>(&address), sizeof address),
      7);
  (void)harness->hear<from::Serving>();
}

TEST_P(ApplicationTest, ServesOnceItsPortAnswers) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  auto app = script("exec sleep 60");
  app.health.kind = protocol::HealthKind::tcp;
  app.health.port = ntohs(address.sin_port);
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  harness->pass(50ms);
  EXPECT_EQ(harness->count<from::Serving>(), 0u);
  ASSERT_EQ(::listen(listener.get(), 64), 0);
  (void)harness->hear<from::Serving>();
}

TEST_P(ApplicationTest, ServesOnceItsCommandSucceeds) {
  auto app = script("sleep 0.1; touch " + harness->files.path() + "/ready; exec sleep 60");
  app.health.kind = protocol::HealthKind::exec;
  app.health.command = {"/bin/sh", "-c", "test -e " + harness->files.path() + "/ready"};
  (void)start(app);
}

TEST_P(ApplicationTest, AKilledApplicationIsRestartedInPlaceUntilItsLimit) {
  const std::string said = harness->files.path() + "/said-by-";
  auto pid = start(script("echo here; touch " + said + "$$; exec sleep 60")).pid;
  for (std::uint32_t attempt = 1; attempt <= 2; ++attempt) {
    ::kill(static_cast<pid_t>(pid), SIGKILL);
    const auto restarting = harness->hear<from::Restarting>();
    EXPECT_EQ(restarting.attempt, attempt);
    EXPECT_EQ(restarting.delay_ms, 10u * attempt);
    EXPECT_EQ(restarting.cause, "killed by signal 9 (SIGKILL)");
    const auto serving = harness->hear<from::Serving>();
    EXPECT_EQ(serving.epoch, 7u);
    EXPECT_NE(serving.pid, pid);
    pid = serving.pid;
  }
  // It is serving as soon as it is executed; let it say its line.
  ASSERT_TRUE(harness->until([&] { return std::filesystem::exists(said + std::to_string(pid)); }));
  ::kill(static_cast<pid_t>(pid), SIGKILL);
  const auto faulted = harness->hear<from::Faulted>();
  EXPECT_EQ(faulted.cause, "killed by signal 9 (SIGKILL), 2 restarts in 1 min used up");
  EXPECT_EQ(faulted.evidence, "here\n");
}

TEST_P(ApplicationTest, WhatItLeavesBehindIsGoneBeforeAnythingIsSaid) {
  auto app = script("sleep 60 & echo $! > " + harness->files.path() + "/left; wait");
  app.restart.attempts = 0;
  const auto serving = start(app);
  ASSERT_TRUE(harness->until([this] { return harness->files.read("left").ends_with("\n"); }));
  const auto left = static_cast<std::uint32_t>(std::stoul(harness->files.read("left")));
  ASSERT_TRUE(alive(left));
  ::kill(static_cast<pid_t>(serving.pid), SIGKILL);
  (void)harness->hear<from::Faulted>();
  EXPECT_FALSE(alive(left));
}

TEST_P(ApplicationTest, AStoppedProcessIsUnhealthy) {
  const auto serving = start(script("exec sleep 60"));
  ::kill(static_cast<pid_t>(serving.pid), SIGSTOP);
  EXPECT_EQ(harness->hear<from::Restarting>().cause,
            "its health check failed 2 times in a row: its main process is stopped (state T)");
  EXPECT_NE(harness->hear<from::Serving>().pid, serving.pid);
}

TEST_P(ApplicationTest, AFailingCheckCountsInARowOnly) {
  auto app = script("exec sleep 60");
  app.health.kind = protocol::HealthKind::exec;
  // Fails every second time.
  const std::string mark = harness->files.path() + "/mark";
  app.health.command = {"/bin/sh", "-c",
                        "if test -e " + mark + "; then rm " + mark + "; else touch " + mark + "; false; fi"};
  (void)start(app);
  harness->pass(500ms);
  EXPECT_EQ(harness->count<from::Restarting>(), 0u);
}

TEST_P(ApplicationTest, ACheckThatHangsHoldsUpNothing) {
  auto app = script("exec sleep 60");
  app.health.kind = protocol::HealthKind::exec;
  app.health.command = {"/bin/sh", "-c", "touch " + harness->files.path() + "/checking; exec sleep 60"};
  app.start_limit_ms = 3000;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  ASSERT_TRUE(
      harness->until([this] { return std::filesystem::exists(harness->files.path() + "/checking"); }));
  harness->send(to::Query{});
  EXPECT_EQ(harness->hear<from::State>().apps.at(0).phase, protocol::Phase::starting);
  EXPECT_EQ(harness->hear<from::StartFailed>().why,
            "it was not ready within 3 s; no check of its health has ended");
}

TEST_P(ApplicationTest, IgnoringSigtermOnlyDelaysItsEnd) {
  const auto serving =
      start(script("trap '' TERM; touch " + harness->files.path() + "/deaf; while :; do sleep 1; done"));
  ASSERT_TRUE(harness->until([this] { return std::filesystem::exists(harness->files.path() + "/deaf"); }));
  const Time began = Loop::now();
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>();
  EXPECT_GE(Loop::now() - began, 290ms);
  EXPECT_FALSE(alive(serving.pid));
}

TEST_P(ApplicationTest, AStoppedOneIsNotRestarted) {
  (void)start(script("exec sleep 60"));
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>();
  harness->pass(100ms);
  EXPECT_EQ(harness->count<from::Restarting>(), 0u);
  harness->send(to::Query{});
  EXPECT_EQ(harness->hear<from::State>().apps.at(0).phase, protocol::Phase::idle);
}

TEST_P(ApplicationTest, ARepeatedStartAnswersServingAgain) {
  const auto serving = start(script("exec sleep 60"));
  harness->send(to::Start{1, 7, 0, {}});
  EXPECT_EQ(harness->hear<from::Serving>().pid, serving.pid);
}

TEST_P(ApplicationTest, AnOldEpochIsRefusedAndANewOneReplacesTheOld) {
  const auto serving = start(script("exec sleep 60"));
  harness->send(to::Start{1, 6, 0, {}});
  EXPECT_EQ(harness->hear<from::StartFailed>().epoch, 6u);
  EXPECT_TRUE(alive(serving.pid));
  harness->send(to::Start{1, 8, 0, {}});
  const auto next = harness->hear<from::Serving>();
  EXPECT_EQ(next.epoch, 8u);
  EXPECT_NE(next.pid, serving.pid);
  EXPECT_FALSE(alive(serving.pid));
}

TEST_P(ApplicationTest, AStoppedEpochDoesNotStartAgain) {
  (void)start(script("exec sleep 60"));
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>();
  harness->send(to::Start{1, 7, 0, {}});
  EXPECT_EQ(harness->hear<from::StartFailed>().epoch, 7u);
}

TEST_P(ApplicationTest, StoppingWhatNeverRanIsAnsweredAndBindsTheEpoch) {
  harness->welcome({script("exec sleep 60")});
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>();
  harness->send(to::Start{1, 7, 0, {}});
  (void)harness->hear<from::StartFailed>();
}

TEST_P(ApplicationTest, StopDuringARestartDelayIsImmediate) {
  auto app = script("exec sleep 60");
  app.restart.delay_ms = 60'000;
  app.restart.maximum_delay_ms = 60'000;
  const auto serving = start(app);
  ::kill(static_cast<pid_t>(serving.pid), SIGKILL);
  (void)harness->hear<from::Restarting>();
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>(30s);
}

// Found by a test that killed an application right after its fork: it had not joined its container yet, which
// was taken for empty.
TEST_P(ApplicationTest, StoppedRightAfterItsForkItIsReallyGone) {
  harness->welcome({script("touch " + harness->files.path() + "/ran; exec sleep 60")});
  for (protocol::Epoch epoch = 1; epoch <= 20; ++epoch) {
    harness->send_raw(*protocol::encode(protocol::ToAgent(to::Start{1, epoch, 0, {}})) +
                      *protocol::encode(protocol::ToAgent(to::Stop{1, epoch})));
    EXPECT_EQ(harness->hear<from::Stopped>().epoch, epoch);
    std::filesystem::remove(harness->files.path() + "/ran");
    harness->pass(10ms);
    EXPECT_FALSE(std::filesystem::exists(harness->files.path() + "/ran"));
  }
}

TEST_P(ApplicationTest, DrillsCauseTheRealFault) {
  (void)start(script("exec sleep 60"));
  harness->send(to::Drill{protocol::DrillKind::app_exit, 1, 0});
  EXPECT_EQ(harness->hear<from::Restarting>().cause, "killed by signal 9 (SIGKILL)");
  (void)harness->hear<from::Serving>();
  harness->send(to::Drill{protocol::DrillKind::app_hang, 1, 0});
  EXPECT_NE(harness->hear<from::Restarting>().cause.find("stopped (state T)"), std::string::npos);
}

TEST_P(ApplicationTest, ItsEnvironmentIsTheConfiguredOne) {
  auto app = script("env; exit 1");
  app.environment = {{"COLOUR", "blue"}, {"HOME", "/elsewhere"}};
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  const std::string evidence = harness->hear<from::StartFailed>().evidence;
  EXPECT_NE(evidence.find("COLOUR=blue\n"), std::string::npos) << evidence;
  EXPECT_NE(evidence.find("HOME=/elsewhere\n"), std::string::npos) << evidence;
  EXPECT_NE(evidence.find("NOTIFY_SOCKET=" + harness->files.path() + "/run/notify-test\n"),
            std::string::npos);
}

// Asked for at any time: while it runs, and after it has ended, those of a former life included.
TEST_P(ApplicationTest, TheTailOfItsOutputIsThereOnRequest) {
  auto pid =
      start(script("echo I am $$; echo ready > " + harness->files.path() + "/said; exec sleep 60")).pid;
  ASSERT_TRUE(harness->until([this] { return harness->files.read("said") == "ready\n"; }));
  harness->send(to::Tail{1, protocol::kMaxTailBytes});
  const std::string first = "I am " + std::to_string(pid) + "\n";
  EXPECT_EQ(harness->hear<from::Tail>().text, first);
  ::kill(static_cast<pid_t>(pid), SIGKILL);
  (void)harness->hear<from::Restarting>();
  std::filesystem::remove(harness->files.path() + "/said");
  const std::string second = "I am " + std::to_string(harness->hear<from::Serving>().pid) + "\n";
  ASSERT_TRUE(harness->until([this] { return harness->files.read("said") == "ready\n"; }));
  harness->send(to::Tail{1, protocol::kMaxTailBytes});
  EXPECT_EQ(harness->hear<from::Tail>().text, first + second);
  harness->send(to::Tail{1, second.size() + 3});
  EXPECT_EQ(harness->hear<from::Tail>().text, second);
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>();
  harness->send(to::Tail{1, protocol::kMaxTailBytes});
  EXPECT_EQ(harness->hear<from::Tail>().text, first + second);
}

TEST_P(ApplicationTest, PrepareRunsItsCommand) {
  auto app = script("exec sleep 60");
  app.prepare = {"/bin/sh", "-c", "touch " + harness->files.path() + "/prepared"};
  harness->welcome({app});
  harness->send(to::Prepare{1});
  EXPECT_EQ(harness->hear<from::Prepared>().why_not, "");
  EXPECT_TRUE(std::filesystem::exists(harness->files.path() + "/prepared"));
}

TEST_P(ApplicationTest, AFailingPrepareSaysWhy) {
  auto app = script("exec sleep 60");
  app.prepare = {"/bin/sh", "-c", "echo not there; exit 2"};
  harness->welcome({app});
  harness->send(to::Prepare{1});
  EXPECT_EQ(harness->hear<from::Prepared>().why_not, "exit status 2 (not there)");
}

}  // namespace
}  // namespace understudy::agent

#include "agent/health_check.hpp"
#include "agent/process_state.hpp"
#include "harness.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/stat.h>

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
  void notify(const std::string& text) const {
    const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = harness->files.path() + "/run/notify-test";
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(::sendto(socket.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&address),
                       sizeof address),
              static_cast<ssize_t>(text.size()));
  }
  std::string why_start_fails(const protocol::Application& app) {
    harness->welcome({app});
    harness->send(to::Start{1, 7, 0, {}});
    return harness->hear<from::StartFailed>().why;
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
            "it was not ready within 100 ms; it has not said READY=1 to its NOTIFY_SOCKET");
}

TEST_P(ApplicationTest, ServesOnceItHasNotified) {
  auto app = script("exec sleep 60");
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  harness->pass(50ms);
  EXPECT_EQ(harness->count<from::Serving>(), 0u);
  notify("READY=1");
  (void)harness->hear<from::Serving>();
}

TEST_P(ApplicationTest, ReadyBehindALongStatusIsNotLost) {
  auto app = script("exec sleep 60");
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  harness->pass(50ms);
  notify("STATUS=" + std::string(100'000, 'x') + "\nREADY=1");
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
  EXPECT_EQ(harness->hear<from::StartFailed>().why, "it was not ready within 3 s; no health check has ended");
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

// Whatever is right or wrong with it, nobody could watch it, in this guest or another.
TEST_P(ApplicationTest, WhatPutsItselfIntoTheBackgroundIsToldToStayInTheForeground) {
  auto app = script("sleep 60 & exit 0");
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  const auto failed = harness->hear<from::StartFailed>();
  EXPECT_TRUE(failed.configuration);
  EXPECT_EQ(
      failed.why.find("it puts itself into the background: its main process ended with exit status 0 and "
                      "left sleep (process "),
      0u)
      << failed.why;
}

TEST_P(ApplicationTest, WhatServedAndWentIntoTheBackgroundIsGivenUpAtOnce) {
  (void)start(script("sleep 0.2; sleep 60 & exit 0"));
  const auto faulted = harness->hear<from::Faulted>();
  EXPECT_TRUE(faulted.configuration);
  EXPECT_EQ(harness->count<from::Restarting>(), 0u);
}

TEST_P(ApplicationTest, OneWhoseOthersEndRightAfterItIsNotInTheBackground) {
  (void)start(script("sleep 0.2; (trap '' HUP; sleep 0.1) & exit 0"));
  EXPECT_EQ(harness->hear<from::Restarting>().cause, "exit status 0");
}

TEST_P(ApplicationTest, AMistypedCommandIsNamedInTheShellsWords) {
  auto app = script("no-such-command --flag");
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  const auto failed = harness->hear<from::StartFailed>();
  EXPECT_EQ(failed.why, "exit status 127, which a shell says of a command that is not there");
  EXPECT_NE(failed.evidence.find("no-such-command"), std::string::npos);
}

TEST_P(ApplicationTest, AMistypedHealthCheckIsNamedInTheShellsWords) {
  auto app = script("exec sleep 60");
  app.start_limit_ms = 2000;
  app.health.kind = protocol::HealthKind::exec;
  app.health.command = {"/bin/sh", "-c", "no-such-check --quick"};
  const std::string why = why_start_fails(app);
  EXPECT_EQ(
      why.find("it was not ready within 2 s; its last health check: /bin/sh -c 'no-such-check --quick': "
               "exit status 127, which a shell says of a command that is not there ("),
      0u)
      << why;
  EXPECT_NE(why.find("no-such-check: not found)"), std::string::npos) << why;
}

TEST_P(ApplicationTest, AHealthCheckThatCannotBeExecutedSaysSo) {
  auto app = script("exec sleep 60");
  app.start_limit_ms = 1000;
  app.health.kind = protocol::HealthKind::exec;
  app.health.command = {"/no/such/check"};
  EXPECT_EQ(why_start_fails(app),
            "it was not ready within 1 s; its last health check: /no/such/check: it cannot be executed: "
            "/no/such/check: No such file or directory");
}

// A port of those that the kernel lends out: asked often enough, it lends it to the check itself.
TEST_P(ApplicationTest, ACheckThatIsConnectedToItselfHasNotBeenAnswered) {
  std::ifstream range("/proc/sys/net/ipv4/ip_local_port_range");
  int low = 0;
  int high = 0;
  range >> low >> high;
  ASSERT_LT(low, high);
  auto loop = Loop::create();
  auto children = Children::create(**loop);
  protocol::Health health;
  health.kind = protocol::HealthKind::tcp;
  health.port = static_cast<std::uint16_t>(low + (high - low) / 4 * 2);  // of the parity that is lent first
  health.limit_ms = 30'000;
  HealthCheck check(**loop, **children, health, ::getpid(), {});
  for (int i = 0; i < 40'000; ++i) {
    std::optional<bool> passed;
    check.run([&](Result<void> result) { passed = result.has_value(); });
    while (!passed) (*loop)->run_once(10ms);
    ASSERT_FALSE(*passed) << "after " << i << " checks of a port at which nobody listens";
  }
}

TEST_P(ApplicationTest, WhatTheAgentInheritedDoesNotReachIt) {
  ::signal(SIGUSR1, SIG_IGN);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  ::umask(077);
  ::setenv("UNDERSTUDY_TEST_LEFT_OVER", "1", 1);
  auto app =
      script("grep -E 'SigBlk|SigIgn' /proc/self/status; umask; ulimit -Sn; ulimit -c; pwd; env; exit 1");
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  const std::string said = harness->hear<from::StartFailed>().evidence;
  ::signal(SIGUSR1, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::umask(022);
  ::unsetenv("UNDERSTUDY_TEST_LEFT_OVER");
  EXPECT_NE(said.find("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022\n1024\n0\n/\n"),
            std::string::npos)
      << said;
  EXPECT_EQ(said.find("LEFT_OVER"), std::string::npos) << said;
}

TEST_P(ApplicationTest, WritesToItsDevStdoutWhoeverItRunsAs) {
  if (::geteuid() != 0 || !std::filesystem::exists("/dev/stdout"))
    GTEST_SKIP() << "needs root and /dev/stdout";
  auto app = script("echo by name > /dev/stdout; exit 1");
  app.user = "1000:1000";
  app.ready = protocol::Ready::notify;
  harness->welcome({app});
  harness->send(to::Start{1, 7, 0, {}});
  EXPECT_EQ(harness->hear<from::StartFailed>().evidence, "by name\n");
}

// As podman and systemd do where they are root.
TEST_P(ApplicationTest, CgroupsThatItMakesBelowItsOwnEndWithIt) {
  if (!GetParam() || ::geteuid() != 0) GTEST_SKIP() << "of cgroups alone";
  const std::string own = cgroup->path() + "/understudy/app-test";
  auto app = script("mkdir -p " + own + "/below/deep && (echo 0 > " + own + "/below/deep/cgroup.procs; " +
                    "echo $$ > " + harness->files.path() + "/main; exec sleep 61) & sleep 0.1; " +
                    "echo 0 > " + own + "/below/cgroup.procs; echo +memory > " + own +
                    "/cgroup.subtree_control; touch " + harness->files.path() + "/made; exec sleep 60");
  auto pid = start(app).pid;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(harness->until([this] { return std::filesystem::exists(harness->files.path() + "/made"); }));
    std::filesystem::remove(harness->files.path() + "/made");
    EXPECT_TRUE(std::filesystem::exists(own + "/below/deep"));
    ::kill(static_cast<pid_t>(pid), SIGKILL);
    (void)harness->hear<from::Restarting>();
    const auto next = harness->hear<from::Serving>();
    EXPECT_FALSE(alive(pid));
    pid = next.pid;
  }
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>();
  EXPECT_EQ(read_file(own + "/cgroup.events")->find("populated 1"), std::string::npos);
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

TEST_P(ApplicationTest, APrepareCommandThatIsNotThereSaysSo) {
  auto app = script("exec sleep 60");
  app.prepare = {"/no/such/program"};
  harness->welcome({app});
  harness->send(to::Prepare{1});
  EXPECT_EQ(harness->hear<from::Prepared>().why_not,
            "it cannot be executed: /no/such/program: No such file or directory");
}

}  // namespace
}  // namespace understudy::agent

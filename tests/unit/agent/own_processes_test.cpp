// Applications that run as one user: none sees or signals another's processes, or says that it is ready.
#include "agent/own_processes.hpp"

#include "agent/process_state.hpp"
#include "harness.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using test::can_isolate;
using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

constexpr const char* kUser = "65533";

class OwnProcessesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_isolate())
      GTEST_SKIP() << "no right to make namespaces and mounts here, or / is no mount (a plain chroot)";
    cgroup = std::make_unique<test::CgroupRoot>(test::find_cgroup_root());
    if (!cgroup->made()) GTEST_SKIP() << "no writable cgroup v2 here";
    if (const auto tried = try_own_processes(); !tried) GTEST_SKIP() << tried.error().message;
    ASSERT_NE(::mkdtemp(data), nullptr);  // in sight of applications in an ordinary guest
    ASSERT_EQ(::chmod(data, 0777), 0);
    harness = std::make_unique<Harness>(cgroup->path(), OwnFilesOf::an_ordinary_guest);
  }
  void TearDown() override {
    harness.reset();
    std::filesystem::remove_all(data);
  }
  from::Serving start(const protocol::Application& app) {
    harness->welcome({app});
    harness->send(to::Start{1, 7, 64_MiB, {}});
    return harness->hear<from::Serving>();
  }
  // Of a program that says something and fails.
  std::string evidence(const std::string& text) {
    auto app = script(text + "; exit 1");
    app.ready = protocol::Ready::notify;
    harness->welcome({app});
    harness->send(to::Start{1, 7, 64_MiB, {}});
    const auto failed = harness->hear<from::StartFailed>();
    EXPECT_EQ(failed.why, "exit status 1");
    return failed.evidence;
  }
  // A second application, number 0, says something while the first one serves.
  std::string said_beside(const std::string& user, const std::string& text) {
    auto victim = script("sleep 60 & echo $$ > " + file("inner.new") + "; mv " + file("inner.new") + " " +
                         file("inner") + "; wait");
    victim.user = user;
    auto thief = script("");
    thief.app = 0;
    thief.name = "thief";
    thief.user = user;
    thief.ready = protocol::Ready::notify;
    thief.restart.attempts = 0;
    harness->welcome({victim, thief});
    harness->send(to::Start{1, 7, 64_MiB, {}});
    victim_pid = static_cast<pid_t>(harness->hear<from::Serving>().pid);
    EXPECT_TRUE(harness->until([&] { return exists(file("inner")); }));
    const std::string inner(trim(*read_file(file("inner"))));
    thief.start[2] = "P=" + std::to_string(victim_pid) + "; I=" + inner + "; " + text + "; exit 1";
    harness->send(to::Welcome{protocol::kVersion, "alpha", 1, 50, {victim, thief}});
    harness->send(to::Start{0, 7, 64_MiB, {}});
    return harness->hear<from::StartFailed>().evidence;
  }
  [[nodiscard]] bool victim_is_well() const {
    const auto state = read_process_state(victim_pid);
    return state && !state->ended() && !state->stopped() && harness->count<from::Restarting>() == 0;
  }
  [[nodiscard]] std::string file(const std::string& name) const { return std::string(data) + "/" + name; }
  // The main process of an application under that user, which may not serve yet.
  [[nodiscard]] static pid_t child_of(uid_t user) {
    for (const std::string& name : list_directory("/proc")) {
      const auto pid = parse_number(name);
      struct stat what {};
      if (!pid || ::stat(("/proc/" + name).c_str(), &what) != 0 || what.st_uid != user) continue;
      const auto state = read_process_state(static_cast<pid_t>(*pid));
      if (state && !state->ended() && state->parent == ::getpid()) return static_cast<pid_t>(*pid);
    }
    return -1;
  }
  // A process that sees files as that one does and runs as that user sends this, and has ended before anybody
  // reads it. The error; 0: it was sent.
  [[nodiscard]] int send_ready(pid_t from, const std::string& user, const std::string& path) const {
    const UniqueFd mounts(
        ::open(("/proc/" + std::to_string(from) + "/ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
    const auto uid = static_cast<uid_t>(*parse_number(user));
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setns(mounts.get(), CLONE_NEWNS) != 0 || ::setgid(uid) != 0 || ::setuid(uid) != 0) ::_exit(255);
      const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::memcpy(address.sun_path, path.data(), path.size());
      const auto* to = reinterpret_cast<const sockaddr*>(&address);
      ::_exit(::sendto(socket.get(), "READY=1", 7, 0, to, sizeof address) == 7 ? 0 : errno);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  }

  char data[64] = "/understudy-test-XXXXXX";
  std::unique_ptr<test::CgroupRoot> cgroup;
  std::unique_ptr<Harness> harness;
  pid_t victim_pid = -1;
};

// By the number that the agent knows, by the one that the other has itself, all numbers that there may be,
// and all processes at once.
constexpr const char* kKill =
    "for signal in STOP KILL; do"
    "  for p in $P $I $(seq 2 200); do test $p = $$ || kill -$signal $p; done 2> /dev/null;"
    "  kill -$signal -1 2> /dev/null;"
    "done; echo tried";

TEST_F(OwnProcessesTest, ANeighbourUnderTheSameUserSignalsNothing) {
  EXPECT_EQ(said_beside(kUser, kKill), "tried\n");
  harness->pass(100ms);
  EXPECT_TRUE(victim_is_well());
}

// By that one number alone: this test is to be harmless where it fails, too.
TEST_F(OwnProcessesTest, NorDoesAnOrdinaryProgramOfRoot) {
  EXPECT_EQ(said_beside("0", "kill -STOP $P 2> /dev/null || kill -KILL $P 2> /dev/null || echo failed"),
            "failed\n");
  harness->pass(100ms);
  EXPECT_TRUE(victim_is_well());
}

// Those that were there before it: its keeper and itself.
constexpr const char* kLook =
    "for p in /proc/[0-9]*; do test ${p#/proc/} -le $$ && read -r name < $p/comm && echo $name; done";

TEST_F(OwnProcessesTest, ANeighbourSeesNothingOfIt) {
  EXPECT_EQ(said_beside(kUser, kLook), *read_file("/proc/self/comm") + "sh\n");
}

TEST_F(OwnProcessesTest, ItsOwnCheckSeesAndSignalsIt) {
  auto app = script("trap 'echo usr1 >> " + file("signals") + "' USR1; echo $$ > " + file("pid") +
                    "; while :; do sleep 0.05; done");
  app.user = kUser;
  app.health = {
      protocol::HealthKind::exec,
      0,
      {"/bin/sh", "-c", "kill -0 $(cat " + file("pid") + ") && kill -USR1 $(cat " + file("pid") + ")"},
      20,
      30'000,
      1000};
  const auto serving = start(app);
  EXPECT_NE(std::to_string(serving.pid) + "\n", *read_file(file("pid"))) << "its numbers are not its own";
  EXPECT_TRUE(harness->until([&] { return exists(file("signals")); }));
}

// Process 1 of a namespace ignores what it has no handler for: the application is not that.
TEST_F(OwnProcessesTest, SignalsEndItAsTheyDoAnywhere) {
  (void)start(script("sleep 0.1; kill -TERM $$; sleep 60"));
  EXPECT_EQ(harness->hear<from::Restarting>().cause, "killed by signal 15 (SIGTERM)");
  (void)harness->hear<from::Serving>();
  EXPECT_EQ(harness->hear<from::Restarting>().cause, "killed by signal 15 (SIGTERM)");
}

TEST_F(OwnProcessesTest, OrphansLeaveNoZombies) {
  EXPECT_EQ(evidence("(sh -c 'sleep 0.05 & exit 0' &); sleep 0.3; cat /proc/[0-9]*/stat | grep -c ' Z '"),
            "0\n");
}

// What a former life left in a pid file is not the number of the next one.
TEST_F(OwnProcessesTest, NumbersAreNotUsedAgainAfterARestartInPlace) {
  const auto serving = start(script("echo $$ >> " + file("pids") + "; exec sleep 60"));
  const auto lines = [&](std::size_t most) {
    const std::string text = read_file(file("pids")).value_or("");
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) == most;
  };
  EXPECT_TRUE(harness->until([&] { return lines(1); }));
  ::kill(static_cast<pid_t>(serving.pid), SIGKILL);
  (void)harness->hear<from::Restarting>();
  (void)harness->hear<from::Serving>();
  EXPECT_TRUE(harness->until([&] { return lines(2); }));
  const std::string text = *read_file(file("pids"));
  EXPECT_NE(text.substr(0, text.find('\n') + 1), text.substr(text.find('\n') + 1)) << text;
}

TEST_F(OwnProcessesTest, EndWithTheFirstOfThem) {
  auto app = script("setsid sleep 60 & exec sleep 60");
  app.user = kUser;
  const auto serving = start(app);
  const pid_t keeper = child_of(::getuid());
  ASSERT_GT(keeper, 0);
  ::kill(keeper, SIGKILL);
  EXPECT_EQ(harness->hear<from::Restarting>().cause, "killed by signal 9 (SIGKILL)");
  EXPECT_NE(harness->hear<from::Serving>().pid, serving.pid);
}

TEST_F(OwnProcessesTest, NobodyElseCanSayThatItIsReady) {
  auto waiting = script("exec sleep 60");
  waiting.user = kUser;
  waiting.ready = protocol::Ready::notify;
  auto thief = script("exec sleep 60");
  thief.app = 0;
  thief.name = "thief";
  thief.user = "65532";  // to tell the two apart in here; the socket's user it is below
  harness->welcome({waiting, thief});
  harness->send(to::Start{0, 7, 64_MiB, {}});
  const auto thieving = static_cast<pid_t>(harness->hear<from::Serving>().pid);
  harness->send(to::Start{1, 7, 64_MiB, {}});
  ASSERT_TRUE(harness->until([] { return child_of(65533) > 0; }));
  const std::string run = harness->files.path() + "/run";
  for (const char* const path : {"/notify", "/notify-test", "/own-test/notify"})
    EXPECT_EQ(send_ready(thieving, kUser, run + path), ENOENT) << path;
  harness->pass(50ms);
  EXPECT_EQ(harness->count<from::Serving>(), 0U);
  EXPECT_EQ(send_ready(child_of(65533), kUser, run + "/notify"), 0);
  EXPECT_EQ(harness->hear<from::Serving>().app, 1U);
}

TEST_F(OwnProcessesTest, WhatPreparesHasThemToo) {
  auto app = script("exec sleep 60");
  app.prepare = {"/bin/sh", "-c", std::string(kLook) + " > " + file("seen") + "; sleep 60 &"};
  harness->welcome({app});
  for (int i = 0; i < 2; ++i) {
    harness->send(to::Prepare{1});
    EXPECT_EQ(harness->hear<from::Prepared>().why_not, "");
    EXPECT_EQ(read_file(file("seen")).value_or(""), *read_file("/proc/self/comm") + "sh\n");
    std::filesystem::remove(file("seen"));
  }
}

TEST(OwnProcesses, WithoutCgroupsTheyAreSharedAndThatIsSaid) {
  if (!can_isolate())
    GTEST_SKIP() << "no right to make namespaces and mounts here, or / is no mount (a plain chroot)";
  Harness harness("", OwnFilesOf::an_ordinary_guest);
  harness.welcome({script("exec sleep 60")});
  EXPECT_EQ(harness.hear<from::Log>().text,
            "applications of this guest that run as one user can stop each other's processes: there are no "
            "cgroups");
  harness.send(to::Start{1, 7, 64_MiB, {}});
  const auto pid = std::to_string(harness.hear<from::Serving>().pid);
  EXPECT_EQ(std::filesystem::read_symlink("/proc/" + pid + "/ns/pid"),
            std::filesystem::read_symlink("/proc/self/ns/pid"));
  harness.send(to::Stop{1, 7});
  (void)harness.hear<from::Stopped>();
}

}  // namespace
}  // namespace understudy::agent

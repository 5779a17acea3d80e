// The twin of an application, started for a rehearsal: cut off from everybody and everything that is of
// value.
#include "agent/isolation.hpp"

#include "agent/process_state.hpp"
#include "harness.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/stat.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using test::can_isolate;
using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

constexpr protocol::AppNumber kTwin = 9;

class IsolationTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_isolate())
      GTEST_SKIP() << "no right to make namespaces and mounts here, or / is no mount (a plain chroot)";
    harness = std::make_unique<Harness>();
  }
  // Not below /tmp, which a rehearsal has one of its own of.
  IsolationTest() { EXPECT_NE(::mkdtemp(data), nullptr); }
  ~IsolationTest() override {
    ::unlink((std::string(data) + "/file").c_str());
    ::rmdir(data);
  }
  from::Serving rehearse(protocol::Application app, protocol::Epoch epoch = 3) {
    app.rehearsal = kTwin;
    harness->welcome({app});
    harness->send(to::Start{kTwin, epoch, 0, {}});
    const auto serving = harness->hear<from::Serving>();
    EXPECT_EQ(serving.app, kTwin);
    return serving;
  }
  [[nodiscard]] static std::string network_of(const std::string& process) {
    char text[64] = {};
    const std::string path = "/proc/" + process + "/ns/net";
    EXPECT_GT(::readlink(path.c_str(), text, sizeof text - 1), 0);
    return text;
  }
  char data[64] = "/var/tmp/understudy-test-XXXXXX";
  std::unique_ptr<Harness> harness;
};

TEST_F(IsolationTest, ItsFilesAreItsOwnAndGoWithIt) {
  auto app = script("echo mine > " + std::string(data) +
                    "/file && echo mine > /tmp/understudy-isolated && "
                    "exec sleep 60");
  app.scratch = {data};
  // The check has to look where the application is.
  app.health = {protocol::HealthKind::exec,
                0,
                {"/bin/sh", "-c", "test -s " + std::string(data) + "/file"},
                20,
                30'000,
                2};
  rehearse(app);
  EXPECT_FALSE(exists(std::string(data) + "/file"));
  EXPECT_FALSE(exists("/tmp/understudy-isolated"));
  harness->send(to::Stop{kTwin, 3});
  EXPECT_EQ(harness->hear<from::Stopped>().app, kTwin);
}

TEST_F(IsolationTest, WhatItMayNotWriteStaysAsItIs) {
  const std::string outside = "/understudy-isolated-" + std::to_string(::getpid());
  auto app = script("if echo broken > " + outside + "; then exit 4; fi; exec sleep 60");
  rehearse(app);
  EXPECT_FALSE(exists(outside));
}

TEST_F(IsolationTest, AScratchDirectoryThatIsNotThereSaysSo) {
  auto app = script("exec sleep 60");
  app.scratch = {"/no/such/directory"};
  app.rehearsal = kTwin;
  harness->welcome({app});
  harness->send(to::Start{kTwin, 3, 0, {}});
  const auto failed = harness->hear<from::StartFailed>();
  EXPECT_EQ(failed.app, kTwin);
  EXPECT_NE(failed.why.find("/no/such/directory (rehearsal_scratch): No such file"), std::string::npos)
      << failed.why;
}

TEST_F(IsolationTest, ItsNetworkHasNothingButItsLoopback) {
  const auto serving = rehearse(script("exec sleep 60"));
  const std::string twin = std::to_string(serving.pid);
  EXPECT_NE(network_of(twin), network_of("self"));
  const std::string routes = read_file("/proc/" + twin + "/net/route").value_or("unreadable");
  EXPECT_EQ(routes.find('\n'), routes.rfind('\n')) << "a route leads somewhere:\n" << routes;
  EXPECT_NE(routes, "unreadable");
  const std::string home = network_of("self");
  auto inside = socket_inside(static_cast<pid_t>(serving.pid), AF_INET, SOCK_STREAM);
  ASSERT_TRUE(inside);
  EXPECT_EQ(network_of("self"), home);
  // Its loopback is up: a port is refused there, and not out of reach.
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(9);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_NE(::connect(inside->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(errno, ECONNREFUSED);
}

// Polite ends take time that a takeover may be waiting for.
TEST_F(IsolationTest, ItIsKilledAtOnce) {
  auto app = script("trap '' TERM; while :; do sleep 0.1; done");
  app.stop_limit_ms = 50'000;
  const auto serving = rehearse(app);
  const Time asked = Loop::now();
  harness->send(to::Stop{kTwin, 3});
  (void)harness->hear<from::Stopped>();
  EXPECT_LT(Loop::now() - asked, 40s);
  const auto state = read_process_state(static_cast<pid_t>(serving.pid));
  EXPECT_TRUE(!state || state->ended());
}

TEST_F(IsolationTest, TheApplicationItselfIsNotIsolated) {
  auto app = script("exec sleep 60");
  app.rehearsal = kTwin;
  harness->welcome({app});
  harness->send(to::Start{1, 3, 0, {}});
  const auto serving = harness->hear<from::Serving>();
  EXPECT_EQ(network_of(std::to_string(serving.pid)), network_of("self"));
}

// A failure of the twin is the end of the rehearsal: nothing of it is started again.
TEST_F(IsolationTest, ItIsNotRestarted) {
  auto app = script("echo the reason >&2; exit 3");
  app.health = {protocol::HealthKind::exec, 0, {"/bin/false"}, 20, 30'000, 1000};
  app.rehearsal = kTwin;
  harness->welcome({app});
  harness->send(to::Start{kTwin, 3, 0, {}});
  const auto failed = harness->hear<from::StartFailed>();
  EXPECT_NE(failed.evidence.find("the reason"), std::string::npos);
  EXPECT_EQ(harness->count<from::Restarting>(), 0U);
}

}  // namespace
}  // namespace understudy::agent

// No application listens at another's port, whatever cgroups or addresses it takes for that.
#include "agent/port_guard.hpp"

#include "harness.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/stat.h>

namespace understudy::agent {
namespace {

using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

// 0: it could; else why not.
int bind_to(std::uint16_t port, int family = AF_INET, int type = SOCK_STREAM) {
  const UniqueFd socket(::socket(family, type | SOCK_CLOEXEC, 0));
  sockaddr_in6 address6{};
  address6.sin6_family = AF_INET6;
  address6.sin6_port = htons(port);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  const bool is_6 = family == AF_INET6;
  const int done = ::bind(
      socket.get(), is_6 ? reinterpret_cast<sockaddr*>(&address6) : reinterpret_cast<sockaddr*>(&address),
      is_6 ? sizeof address6 : sizeof address);
  return done == 0 ? 0 : errno;
}

// What `act` answers, done by a process in that cgroup.
template <class Act>
int inside(const std::string& cgroup, Act act) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(write_file(cgroup + "/cgroup.procs", "0") ? act() : 255);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class PortGuardTest : public testing::Test {
 protected:
  static constexpr std::uint16_t kTheirs = 20'179;
  static constexpr std::uint16_t kFree = 20'180;

  void SetUp() override {
    if (::geteuid() != 0 || !cgroup.made()) GTEST_SKIP() << "no writable cgroup v2 here";
    directory = UniqueFd(::open(cgroup.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  void refuse(const std::vector<std::uint16_t>& ports) {
    const auto refused = guard.refuse(directory.get(), ports);
    ASSERT_TRUE(refused) << refused.error().message;
  }
  int in_here(std::uint16_t port, int family = AF_INET, int type = SOCK_STREAM) {
    return inside(cgroup.path(), [&] { return bind_to(port, family, type); });
  }

  test::CgroupRoot cgroup{test::find_cgroup_root()};
  UniqueFd directory;
  PortGuard guard;
};

TEST_F(PortGuardTest, RefusesTheseTcpPortsAlone) {
  ASSERT_EQ(in_here(kTheirs), 0);
  refuse({80, kTheirs, 40'000});
  EXPECT_EQ(in_here(kTheirs), EPERM);
  EXPECT_EQ(in_here(40'000), EPERM);
  EXPECT_EQ(in_here(kTheirs, AF_INET6), EPERM);
  EXPECT_EQ(in_here(kFree), 0);
  EXPECT_EQ(in_here(0), 0) << "any port";
  EXPECT_EQ(in_here(kTheirs, AF_INET, SOCK_DGRAM), 0) << "UDP is another matter";
  EXPECT_EQ(bind_to(kTheirs), 0) << "outside of that cgroup";
}

TEST_F(PortGuardTest, CgroupsBelowCount) {
  refuse({kTheirs});
  const std::string below = cgroup.path() + "/below";
  ASSERT_EQ(::mkdir(below.c_str(), 0755), 0);
  PortGuard of_its_own;  // what it adds itself takes nothing away
  const UniqueFd there(::open(below.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_TRUE(of_its_own.refuse(there.get(), {kFree}));
  EXPECT_EQ(inside(below, [] { return bind_to(kTheirs); }), EPERM);
  EXPECT_EQ(inside(below, [] { return bind_to(kFree); }), EPERM);
  ::rmdir(below.c_str());
}

TEST_F(PortGuardTest, FollowsWhichPortsAreOthers) {
  refuse({kTheirs});
  refuse({kFree});
  EXPECT_EQ(in_here(kTheirs), 0);
  EXPECT_EQ(in_here(kFree), EPERM);
  refuse({});
  EXPECT_EQ(in_here(kFree), 0);
}

TEST_F(PortGuardTest, ANetworkOfItsOwnIsNobodyElses) {
  refuse({kTheirs});
  EXPECT_EQ(inside(cgroup.path(), [] { return ::unshare(CLONE_NEWNET) == 0 ? bind_to(kTheirs) : errno; }), 0);
}

// An application that listened at its neighbour's port made the neighbour's takeover fail, twice.
TEST_F(PortGuardTest, TheAgentKeepsEachApplicationFromTheOthersPorts) {
  Harness harness(cgroup.path());
  auto one = script("exec sleep 60");
  one.port = kTheirs;
  auto two = one;
  two.app = 2;
  two.name = "two";
  two.port = 0;
  two.health = {protocol::HealthKind::tcp, kFree, {}, 20, 30'000, 2};
  two.rehearsal = 9;
  harness.welcome({one, two});
  harness.send(to::Query{});
  (void)harness.hear<from::State>();
  const std::string parent = cgroup.path() + "/understudy/";
  const auto by = [&](const std::string& name, std::uint16_t port) {
    return inside(parent + name, [&] { return bind_to(port); });
  };
  EXPECT_EQ(by("app-test", kTheirs), 0);
  EXPECT_EQ(by("app-test", kFree), EPERM);
  EXPECT_EQ(by("check-test", kFree), EPERM);
  EXPECT_EQ(by("app-two", kTheirs), EPERM);
  EXPECT_EQ(by("app-two", kFree), 0);
  EXPECT_EQ(by("app-two__rehearsal_", kFree), 0) << "its rehearsal is itself";
  EXPECT_EQ(by("app-two__rehearsal_", kTheirs), EPERM);
  // A cgroup that had to be made anew is guarded as the one before.
  ASSERT_EQ(::mkdir((parent + "app-test/own").c_str(), 0755), 0);
  harness.send(to::Start{1, 7, 0, {}});
  (void)harness.hear<from::Serving>();
  EXPECT_FALSE(exists(parent + "app-test/own"));
  EXPECT_EQ(by("app-test", kFree), EPERM);
}

}  // namespace
}  // namespace understudy::agent

// An application whose port somebody in its guest listens at already.
#include "agent/listeners.hpp"

#include "harness.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

class ListenersTest : public testing::Test {
 protected:
  ListenersTest() : socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    port = ntohs(address.sin_port);
  }
  UniqueFd socket;
  std::uint16_t port = 0;
};

TEST_F(ListenersTest, AreFoundByTheirPort) {
  EXPECT_EQ(who_listens(port), std::nullopt);
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  EXPECT_EQ(who_listens(port), ::getpid());
  socket.reset();
  EXPECT_EQ(who_listens(port), std::nullopt);
}

TEST_F(ListenersTest, AStartSaysWhoHasItsPort) {
  Harness harness;
  auto app = script("exec sleep 60");
  app.port = port;
  harness.welcome({app});
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  harness.send(to::Start{1, 7, 0, {}});
  EXPECT_EQ(harness.hear<from::StartFailed>().why,
            "port " + std::to_string(port) + " of the guest is taken: process " + std::to_string(::getpid()) +
                " (agent_tests) listens there");
  socket.reset();
  harness.send(to::Start{1, 8, 0, {}});
  EXPECT_EQ(harness.hear<from::Serving>().epoch, 8U);
}

TEST_F(ListenersTest, AndOfWhichApplicationItIs) {
  if (!exists("/usr/bin/perl")) GTEST_SKIP() << "no perl to listen with";
  Harness harness;
  auto app = script("exec sleep 60");
  app.port = port;
  auto neighbour = script("");
  neighbour.app = 0;
  neighbour.name = "neighbour";
  neighbour.start = {
      "/usr/bin/perl", "-MSocket", "-e",
      "socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1); bind(S, "
      "sockaddr_in(" +
          std::to_string(port) + ", INADDR_ANY)); listen(S, 5); sleep 60"};
  neighbour.health = {protocol::HealthKind::tcp, port, {}, 20, 30'000, 2};
  harness.welcome({app, neighbour});
  harness.send(to::Start{0, 7, 0, {}});
  const auto pid = harness.hear<from::Serving>().pid;
  harness.send(to::Start{1, 7, 0, {}});
  EXPECT_NE(harness.hear<from::StartFailed>().why.find("process " + std::to_string(pid) +
                                                       " (perl) of neighbour listens there"),
            std::string::npos);
}

}  // namespace
}  // namespace understudy::agent

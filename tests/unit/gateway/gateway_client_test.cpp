#include "gateway/limits.hpp"
#include "gateway_client_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <csignal>
#include <string>
#include <vector>

namespace understudy::gateway {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(GatewayClientTest, RoutesAreAnsweredAndLeadThere) {
  const Server server;
  ports_[kFirst] = server.port();
  const auto client = start();
  ASSERT_TRUE(client);
  EXPECT_GT(client->pid(), 0);
  EXPECT_NE(client->pid(), ::getpid());
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  const Stream user = Stream::connect(redis_);
  const Stream app = server.accept();
  ASSERT_TRUE(user.send("x"));
  EXPECT_EQ(app.receive(1), "x");
  const auto status = client->status();
  ASSERT_TRUE(status.has_value());
  ASSERT_EQ(status->size(), 2u);  // an application without an address is none of the gateway's
  EXPECT_EQ(status->at(0).app, "redis");
  EXPECT_EQ(status->at(0).upstream, "127.0.0.1:" + std::to_string(server.port()));
  EXPECT_EQ(status->at(1).app, "web");
  EXPECT_EQ(status->at(1).upstream, std::nullopt);
  client->withdraw(kPlain);
  client->route(kPlain, kFirst);
  EXPECT_TRUE(problems_.empty());
}

TEST_F(GatewayClientTest, WithdrawHasHappenedWhenItReturns) {
  const Server server;
  ports_[kFirst] = server.port();
  const auto client = start();
  ASSERT_TRUE(client);
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(route(*client, kRedis, kFirst));
    const Stream user = Stream::connect(redis_);
    const Stream app = server.accept();
    ASSERT_TRUE(user.send("x"));
    ASSERT_EQ(app.receive(1), "x");
    client->withdraw(kRedis);
    EXPECT_EQ(user.ending(0), ECONNRESET);
    EXPECT_EQ(app.ending(0), ECONNRESET);
    EXPECT_FALSE(server.has_connection(0));
  }
  const Stream later = Stream::connect(redis_);
  EXPECT_EQ(client->status()->at(0).connections, 0u);
  EXPECT_FALSE(server.has_connection(0));
  EXPECT_THAT(problems_, ElementsAre());
}

TEST_F(GatewayClientTest, AWithdrawnRouteIsNotAnnounced) {
  const Server server;
  ports_[kFirst] = ports_[kSecond] = server.port();
  const auto client = start();
  ASSERT_TRUE(client);
  client->route(kRedis, kFirst);
  client->withdraw(kRedis);
  ASSERT_TRUE(route(*client, kRedis, kSecond));
  EXPECT_THAT(routed_, ElementsAre(std::pair(kRedis, kSecond)));
}

// Connections live on when the daemon goes; the next daemon finds the gateway as it was.
TEST_F(GatewayClientTest, ConnectionsOutliveTheDaemon) {
  const Server server;
  ports_[kFirst] = server.port();
  auto client = start();
  ASSERT_TRUE(client);
  const pid_t gateway = client->pid();
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  const Stream user = Stream::connect(redis_);
  const Stream app = server.accept();
  client.reset();
  ASSERT_TRUE(user.send("x"));
  EXPECT_EQ(app.receive(1), "x");
  const Stream new_user = Stream::connect(redis_);
  const Stream new_app = server.accept();
  ASSERT_TRUE(new_app.send("y"));
  EXPECT_EQ(new_user.receive(1), "y");

  client = start();
  ASSERT_TRUE(client);
  EXPECT_EQ(client->pid(), gateway);
  EXPECT_EQ(client->status()->at(0).connections, 2u);
  ASSERT_TRUE(route(*client, kRedis, kFirst));  // as a resuming daemon does
  ASSERT_TRUE(app.send("z"));
  EXPECT_EQ(user.receive(1), "z");
}

TEST_F(GatewayClientTest, AnApplicationThatIsGoneFromTheConfigurationIsForgotten) {
  auto client = start();
  ASSERT_TRUE(client);
  client.reset();
  config_.applications.pop_back();
  client = start();
  ASSERT_TRUE(client);
  EXPECT_EQ(client->status()->size(), 1u);
  EXPECT_TRUE(Server(web_).good()) << "its port is still taken";
}

TEST_F(GatewayClientTest, AGatewayThatDiesIsStartedAgainAndToldEverything) {
  const Server server;
  ports_[kFirst] = server.port();
  const auto client = start();
  ASSERT_TRUE(client);
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  const pid_t before = client->pid();
  ASSERT_EQ(::kill(before, SIGKILL), 0);
  ASSERT_TRUE(until([&] { return client->pid() != 0 && client->pid() != before; }));
  // Said once or twice: a process that is being killed may still take one more connection.
  ASSERT_FALSE(problems_.empty());
  EXPECT_THAT(problems_[0], HasSubstr("started again"));
  ASSERT_TRUE(until([&] {
    const auto status = client->status();
    return status && status->at(0).upstream.has_value();
  }));
  const Stream user = Stream::connect(redis_);
  const Stream app = server.accept();
  ASSERT_TRUE(user.send("x"));
  EXPECT_EQ(app.receive(1), "x");
}

// Its addresses are the daemon's, too: from its end to the next one nobody else can take them, and clients
// wait in the kernel.
TEST_F(GatewayClientTest, AGatewayThatDiesLeavesItsAddressesToNobody) {
  const Server server;
  ports_[kFirst] = server.port();
  auto client = start();
  ASSERT_TRUE(client);
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  for (int round = 0; round < 3; ++round) {
    const pid_t before = client->pid();
    kill_and_await(before);
    EXPECT_FALSE(Server(redis_).good()) << "its address is anybody's";
    EXPECT_FALSE(Server(web_).good()) << "nothing leads there, but it is ours all the same";
    int error = -1;
    const Stream early = Stream::connect(redis_, &error);
    EXPECT_EQ(error, 0) << std::strerror(error);
    ASSERT_TRUE(early.send("x"));
    ASSERT_TRUE(until([&] { return client->pid() != 0 && client->pid() != before; }));
    ASSERT_TRUE(until([&] { return server.has_connection(0); }));
    const Stream app = server.accept();
    EXPECT_EQ(app.receive(1), "x") << "round " << round;
    if (round == 1) {  // the same for the next daemon, which has them of the gateway
      client.reset();
      client = start();
      ASSERT_TRUE(client);
      ASSERT_TRUE(route(*client, kRedis, kFirst));
    }
  }
}

// As many as a service needs at least (base/inherited_state.cpp) are enough for one.
TEST_F(GatewayClientTest, AProcessWithFewDescriptorsStartsItToo) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{64, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto client = start();
  if (client) {
    const pid_t first = client->pid();
    kill_and_await(first);
    EXPECT_TRUE(until([&] { return client->pid() != 0 && client->pid() != first; })) << log();
  }
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(GatewayClientTest, WhereClientsAreToBeRefusedTheyAreWithoutAGateway) {
  config_.applications[0].address->while_down = config::WhileDown::refuse;
  const auto client = start();
  ASSERT_TRUE(client);
  const pid_t before = client->pid();
  kill_and_await(before);
  EXPECT_FALSE(Server(redis_).good()) << "its address is anybody's";
  int error = 0;
  (void)Stream::connect(redis_, &error);
  EXPECT_EQ(error, ECONNREFUSED);
  ASSERT_TRUE(until([&] { return client->pid() != 0 && client->pid() != before; }));
  ASSERT_TRUE(until([&] { return client->status().has_value(); }));
  (void)Stream::connect(redis_, &error);
  EXPECT_EQ(error, ECONNREFUSED);
}

TEST_F(GatewayClientTest, AWithdrawalThatIsNotConfirmedIsSaidAndStillComesFirst) {
  const Server first;
  const Server second;
  ports_[kFirst] = first.port();
  ports_[kSecond] = second.port();
  const auto client = start();
  ASSERT_TRUE(client);
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  ASSERT_EQ(::kill(client->pid(), SIGSTOP), 0);
  const auto before = std::chrono::steady_clock::now();
  client->withdraw(kRedis);
  client->route(kRedis, kSecond);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(100)) << "the loop waited";
  ASSERT_TRUE(until([&] { return !problems_.empty(); }));
  EXPECT_THAT(problems_[0], HasSubstr("did not confirm"));
  const Stream user = Stream::connect(redis_);
  ASSERT_EQ(::kill(client->pid(), SIGCONT), 0);
  EXPECT_TRUE(static_cast<bool>(second.accept()));
  ASSERT_TRUE(until([&] { return routed_.size() == 2; }));
  EXPECT_EQ(routed_.back(), std::pair(kRedis, kSecond));
}

TEST_F(GatewayClientTest, ARunWithoutAPortIsTriedAgain) {
  const Server server;
  const auto client = start();
  ASSERT_TRUE(client);
  client->route(kRedis, kFirst);
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_THAT(problems_[0], HasSubstr("\"redis\" has no port"));
  ports_[kFirst] = server.port();
  EXPECT_TRUE(until([&] { return routed_.size() == 1; }));
}

TEST_F(GatewayClientTest, AnAddressInUseStopsTheStartAndNamesIt) {
  const Server squatter;
  config_.applications.push_back(application("late", squatter.port()));
  const auto client = GatewayClient::start(
      loop_, config_, directory_.path(), [](auto, auto) { return std::nullopt; }, [](const auto&) {});
  ASSERT_FALSE(client.has_value());
  EXPECT_THAT(client.error().message, HasSubstr("application \"late\": cannot listen on 127.0.0.1:"));
  EXPECT_THAT(client.error().message, HasSubstr("Address already in use"));
}

TEST_F(GatewayClientTest, AGatewayThatCannotStartSaysWhy) {
  const auto missing = GatewayClient::start(
      loop_, config_, directory_.path(), [](auto, auto) { return std::nullopt; }, [](const auto&) {},
      {.program = "/nowhere/understudyd", .problem = {}});
  ASSERT_FALSE(missing.has_value());
  EXPECT_THAT(missing.error().message, HasSubstr("the program could not be started"));
  const std::filesystem::path far = directory_.path() / std::string(100, 'x');
  std::filesystem::create_directory(far);
  const auto too_long = GatewayClient::start(
      loop_, config_, far, [](auto, auto) { return std::nullopt; }, [](const auto&) {});
  ASSERT_FALSE(too_long.has_value());
  EXPECT_THAT(too_long.error().message, HasSubstr("too long a path for a unix socket"));
}

TEST_F(GatewayClientTest, QuitEndsTheProcessAndFreesTheAddresses) {
  const auto client = start();
  ASSERT_TRUE(client);
  const Stream user = Stream::connect(redis_);
  client->quit();
  EXPECT_EQ(user.ending(), ECONNRESET);
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "gateway.sock"));
  EXPECT_TRUE(Server(redis_).good());
  EXPECT_TRUE(end_gateway(directory_.path() / "gateway.sock").has_value());  // nothing left to end
  EXPECT_THAT(log(), HasSubstr("gateway: ended"));
}

TEST_F(GatewayClientTest, AGatewayThatHangsIsKilled) {
  auto client = start();
  ASSERT_TRUE(client);
  ASSERT_EQ(::kill(client->pid(), SIGSTOP), 0);
  client.reset();  // which holds its addresses, too
  const auto ended = end_gateway(directory_.path() / "gateway.sock");
  EXPECT_TRUE(ended.has_value()) << ended.error().message;
  EXPECT_TRUE(Server(redis_).good());
}

TEST_F(GatewayClientTest, SigtermEndsItOrderly) {
  const auto client = start();
  ASSERT_TRUE(client);
  const Stream user = Stream::connect(redis_);
  ASSERT_EQ(::kill(client->pid(), SIGTERM), 0);
  EXPECT_EQ(user.ending(), ECONNRESET);
}

TEST_F(GatewayClientTest, ItServesOnWhenItsRunDirectoryVanishes) {
  const Server server;
  ports_[kFirst] = server.port();
  const auto client = start();
  ASSERT_TRUE(client);
  std::filesystem::remove_all(directory_.path());
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  const Stream user = Stream::connect(redis_);
  const Stream app = server.accept();
  ASSERT_TRUE(app.send("x"));
  EXPECT_EQ(user.receive(1), "x");
  ASSERT_EQ(::kill(client->pid(), SIGTERM), 0);  // nobody can reach its socket any more
  EXPECT_EQ(user.ending(), ECONNRESET);
}

// ---- whether clients could be served there ----

class ReachTest : public GatewayClientTest {
 protected:
  ReachTest() { config_.applications[kRedis.value].address->reach_check = true; }
  // A guest's forward behind which the application turns everybody away until it does not.
  void answer(const Server& forward, bool open) {
    while (forward.has_connection(0)) {
      Stream stream = forward.accept();
      if (open) {
        kept_.push_back(std::move(stream));
      } else {
        stream.close();
      }
    }
  }
  std::vector<Stream> kept_;
};

TEST_F(ReachTest, ClientsAreLedThereWhenTheirWayIsOpen) {
  const Server forward;
  ports_[kFirst] = forward.port();
  const auto client = start();
  ASSERT_TRUE(client);
  const Stream user = Stream::connect(redis_);  // waits
  client->route(kRedis, kFirst);
  const Stream look = forward.accept();
  ASSERT_TRUE(until([&] { return routed_.size() == 1; }));
  const Stream app = forward.accept();
  ASSERT_TRUE(user.send("x"));
  EXPECT_EQ(app.receive(1), "x");
  EXPECT_EQ(look.ending(), 0);
  EXPECT_TRUE(unreachable_.empty());
}

// Seen with a server on the guest's loopback alone: QEMU's forward accepts, so clients were led there and
// reset.
TEST_F(ReachTest, NobodyIsLedToAnApplicationThatTurnsStrangersAwayUntilItDoesNot) {
  const Server forward;
  ports_[kFirst] = forward.port();
  const auto client = start();
  ASSERT_TRUE(client);
  const Stream user = Stream::connect(redis_);
  client->route(kRedis, kFirst);
  ASSERT_TRUE(until([&] {
    answer(forward, false);
    return !unreachable_.empty();
  }));
  EXPECT_THAT(unreachable_[0], HasSubstr("let it listen on 0.0.0.0"));
  EXPECT_TRUE(routed_.empty());
  EXPECT_EQ(client->status()->at(0).upstream, std::nullopt);
  EXPECT_EQ(user.ending(0), EAGAIN) << "the client waits, as while the application is down";
  ASSERT_TRUE(until([&] {
    answer(forward, true);
    return routed_.size() == 1;
  }));
}

TEST_F(ReachTest, AWithdrawalEndsTheLooking) {
  const Server forward;
  ports_[kFirst] = forward.port();
  const auto client = start();
  ASSERT_TRUE(client);
  client->route(kRedis, kFirst);
  const Stream look = forward.accept();
  client->withdraw(kRedis);
  EXPECT_EQ(look.ending(), 0);
  loop_.restart();
  loop_.run_for(2 * kPathWatch);
  EXPECT_TRUE(routed_.empty());
  EXPECT_FALSE(forward.has_connection(0));
}

// The gateway has led clients there all the time: a new daemon makes nobody wait for a look.
TEST_F(ReachTest, ANextDaemonDoesNotLookAgainWhereClientsAreServed) {
  const Server forward;
  ports_[kFirst] = forward.port();
  auto client = start();
  ASSERT_TRUE(client);
  client->route(kRedis, kFirst);
  const Stream look = forward.accept();
  ASSERT_TRUE(until([&] { return routed_.size() == 1; }));
  const Stream user = Stream::connect(redis_);
  const Stream app = forward.accept();
  client.reset();
  client = start();
  ASSERT_TRUE(client);
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  EXPECT_FALSE(forward.has_connection(0));
  ASSERT_TRUE(user.send("x"));
  EXPECT_EQ(app.receive(1), "x");
  // Once withdrawn it is looked at anew.
  client->withdraw(kRedis);
  client->route(kRedis, kFirst);
  EXPECT_TRUE(until([&] { return forward.has_connection(0); }));
}

// ---- a gateway that hangs ----

// Seen with SIGSTOP: every client hung until somebody noticed.
TEST_F(GatewayClientTest, AGatewayThatHangsIsEndedAndStartedAgain) {
  const Server server;
  ports_[kFirst] = server.port();
  const auto client = start();
  ASSERT_TRUE(client);
  ASSERT_TRUE(route(*client, kRedis, kFirst));
  const pid_t before = client->pid();
  ASSERT_EQ(::kill(before, SIGSTOP), 0);
  ASSERT_TRUE(until([&] { return client->pid() != 0 && client->pid() != before; }));
  ASSERT_FALSE(problems_.empty());
  EXPECT_THAT(problems_[0], HasSubstr("has answered nothing for 5 s; process " + std::to_string(before)));
  ASSERT_TRUE(until([&] {
    const auto status = client->status();
    return status && status->at(0).upstream.has_value();
  }));
  const Stream user = Stream::connect(redis_);
  const Stream app = server.accept();
  ASSERT_TRUE(user.send("x"));
  EXPECT_EQ(app.receive(1), "x");
}

TEST_F(GatewayClientTest, AFormerDaemonsGatewayThatHangsIsReplacedAtTheStart) {
  auto client = start();
  ASSERT_TRUE(client);
  const pid_t before = client->pid();
  client.reset();
  ASSERT_EQ(::kill(before, SIGSTOP), 0);
  client = start();
  ASSERT_TRUE(client);
  EXPECT_NE(client->pid(), before);
  EXPECT_TRUE(client->status().has_value());
}

// Nothing of the daemon waits while a gateway is started again: not even where it never becomes ready.
TEST_F(GatewayClientTest, ReplacingAGatewayNeverHoldsUpTheLoop) {
  const auto client = start();
  ASSERT_TRUE(client);
  ASSERT_EQ(::kill(client->pid(), SIGKILL), 0);
  auto longest = std::chrono::steady_clock::duration::zero();
  ASSERT_TRUE(until([&] {
    const auto before = std::chrono::steady_clock::now();
    loop_.restart();
    loop_.poll();
    longest = std::max(longest, std::chrono::steady_clock::now() - before);
    return client->pid() != 0 && client->status().has_value() && !problems_.empty();
  }));
  // A start takes tens of milliseconds (seconds on a busy host); a step of it next to none.
  EXPECT_LT(longest, std::chrono::milliseconds(500));
}

// Whoever else listens on its socket is not ended for being silent.
TEST_F(GatewayClientTest, AStrangerOnItsSocketIsLeftAlone) {
  const std::filesystem::path socket = directory_.path() / "gateway.sock";
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket.string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);  // this very process, which is no gateway
  auto link = ControlLink::connect(socket);
  ASSERT_TRUE(link && *link);
  const auto process = GatewayProcess::behind(**link, socket);
  ASSERT_FALSE(process.has_value());
  EXPECT_THAT(process.error().message, HasSubstr("was not started as a gateway of this run directory"));
  const auto ended = end_gateway(socket);
  EXPECT_FALSE(ended.has_value());
  std::filesystem::remove(socket);
}

}  // namespace
}  // namespace understudy::gateway

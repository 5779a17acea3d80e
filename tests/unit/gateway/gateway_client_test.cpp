#include "gateway/gateway_client.hpp"

#include "gateway/limits.hpp"
#include "sockets.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

// The client and a real gateway process, which is this test program.
namespace understudy::gateway {
namespace {

using test::free_port;
using test::RunDirectory;
using test::Server;
using test::Stream;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr core::AppId kRedis{0};
constexpr core::AppId kPlain{1};  // has no address
constexpr core::AppId kWeb{2};
constexpr core::GuestRun kFirst{{0}, 1};
constexpr core::GuestRun kSecond{{1}, 1};

config::Application application(const std::string& name, std::optional<std::uint16_t> port) {
  config::Application application;
  application.name = name;
  if (!port) return application;
  application.address.emplace();
  application.address->listen_host = "127.0.0.1";
  application.address->listen_port = *port;
  application.address->reach_check = false;  // tests of the check ask for it
  return application;
}

class GatewayClientTest : public testing::Test {
 protected:
  GatewayClientTest() {
    config_.applications = {application("redis", redis_), application("plain", {}), application("web", web_)};
  }
  ~GatewayClientTest() override {
    const auto ended = end_gateway(directory_.path() / "gateway.sock");
    EXPECT_TRUE(ended.has_value()) << ended.error().message;
  }

  std::unique_ptr<GatewayClient> start() {
    auto client = GatewayClient::start(
        loop_, config_, directory_.path(),
        [this](core::AppId, core::GuestRun run) -> std::optional<std::uint16_t> {
          const auto found = ports_.find(run);
          return found == ports_.end() ? std::nullopt : std::optional(found->second);
        },
        [this](const core::Event& event) {
          if (const auto* closed = std::get_if<core::event::AddressUnreachable>(&event)) {
            unreachable_.push_back(closed->why);
            return;
          }
          const auto& routed = std::get<core::event::AddressRouted>(event);
          routed_.emplace_back(routed.app, routed.run);
        },
        {.problem = [this](const std::string& text) { problems_.push_back(text); }});
    if (!client) {
      ADD_FAILURE() << client.error().message;
      return nullptr;
    }
    return std::move(*client);
  }
  // Runs the loop until it is so.
  template <class Predicate>
  bool until(Predicate predicate) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(test::kPatience_ms);
    while (!predicate() && std::chrono::steady_clock::now() < deadline) {
      loop_.restart();
      loop_.run_one_for(std::chrono::milliseconds(100));
    }
    return predicate();
  }
  bool route(GatewayClient& client, core::AppId app, core::GuestRun run) {
    const std::size_t before = routed_.size();
    client.route(app, run);
    EXPECT_EQ(routed_.size(), before) << "the sink was called from inside the request";
    return until([&] { return routed_.size() == before + 1 && routed_.back() == std::pair(app, run); });
  }
  [[nodiscard]] std::string log() const {
    std::ifstream in(directory_.path() / "gateway.log");
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }

  RunDirectory directory_;
  boost::asio::io_context loop_;
  std::uint16_t redis_ = free_port();
  std::uint16_t web_ = free_port();
  config::Config config_;
  std::map<core::GuestRun, std::uint16_t> ports_;
  std::vector<std::pair<core::AppId, core::GuestRun>> routed_;
  std::vector<std::string> unreachable_;
  std::vector<std::string> problems_;
};

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
  const auto client = start();
  ASSERT_TRUE(client);
  ASSERT_EQ(::kill(client->pid(), SIGSTOP), 0);
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

// ---- the control socket, by hand ----

class ControlSocketTest : public GatewayClientTest {
 protected:
  void SetUp() override {
    client_ = start();
    ASSERT_TRUE(client_);
  }
  Stream open() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (directory_.path() / "gateway.sock").string();
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return Stream(std::move(fd));
  }
  static std::string line_of(const Stream& stream) {
    std::string line;
    while (line.empty() || line.back() != '\n') {
      const std::string byte = stream.receive(1);
      if (byte.empty()) break;
      line += byte;
    }
    return line;
  }

  std::unique_ptr<GatewayClient> client_;
};

TEST_F(ControlSocketTest, IsForItsOwnerAlone) {
  struct stat info {};
  ASSERT_EQ(::stat((directory_.path() / "gateway.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(ControlSocketTest, GarbageIsAnsweredAndTheNextRequestServed) {
  const Stream control = open();
  ASSERT_TRUE(
      control.send("garbage\n\n{\"v\":1,\"id\":5,\"op\":\"dance\"}\n{\"v\":1,\"id\":6,\"op\":\"status\"}\n"));
  EXPECT_EQ(line_of(control),
            "{\"v\":1,\"id\":0,\"ok\":false,\"error\":\"the line is not a JSON object\"}\n");
  EXPECT_EQ(line_of(control),
            "{\"v\":1,\"id\":0,\"ok\":false,\"error\":\"the line is not a JSON object\"}\n");
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":5,\"ok\":false,\"error\":\"\\\"op\\\" has to be listen,"));
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":6,\"ok\":true"));
}

TEST_F(ControlSocketTest, ALineWithoutAnEndIsRefused) {
  const Stream control = open();
  (void)control.send(std::string(kLongestRequest + 5000, 'x'));
  EXPECT_THAT(line_of(control), HasSubstr("the line is longer than"));
  EXPECT_NE(control.ending(), EAGAIN);
  EXPECT_TRUE(client_->status().has_value());
}

TEST_F(ControlSocketTest, ALineOfExactlyTheLimitIsRead) {
  const Stream control = open();
  const std::string request = request_line(8, request::Status{});
  ASSERT_TRUE(control.send(request + std::string(kLongestRequest - request.size(), ' ') + "\n"));
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":8,\"ok\":true"));
  ASSERT_TRUE(control.send(request + std::string(kLongestRequest - request.size() + 1, ' ') + "\n"));
  EXPECT_THAT(line_of(control), HasSubstr("the line is longer than 16384 bytes"));
  EXPECT_NE(control.ending(), EAGAIN);
}

TEST_F(ControlSocketTest, OnlySoManySessionsAtOnce) {
  const std::string request = request_line(8, request::Status{}) + "\n";
  std::vector<Stream> sessions;  // and the client's own
  for (std::size_t i = 1; i < kMostSessions; ++i) {
    sessions.push_back(open());
    ASSERT_TRUE(sessions.back().send(request));
    EXPECT_THAT(line_of(sessions.back()), HasSubstr("\"id\":8,\"ok\":true"));
  }
  const Stream one_more = open();
  EXPECT_NE(one_more.ending(), EAGAIN) << "it was kept";
  EXPECT_TRUE(client_->status().has_value());
}

TEST_F(ControlSocketTest, WhoDoesNotReadHisAnswersIsDropped) {
  const Stream control = open();
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += "{\"v\":1,\"id\":1,\"op\":\"status\"}\n";
  bool taken = true;
  for (int i = 0; taken && i < 1000; ++i) taken = control.send(requests);
  EXPECT_FALSE(taken);
  EXPECT_TRUE(client_->status().has_value());
}

TEST_F(ControlSocketTest, RequestsMayComeInPieces) {
  const Stream control = open();
  const std::string request = request_line(8, request::Status{}) + "\n";
  for (const char c : request) ASSERT_TRUE(control.send(std::string(1, c)));
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":8,\"ok\":true"));
}

// The next daemon has another file; the gateway and its clients live on.
class ChangedAddressTest : public GatewayClientTest {
 protected:
  // An application that says its own letter to whoever connects, and a client that is connected to it.
  void former() {
    ports_[kFirst] = redis_server_.port();
    ports_[kSecond] = web_server_.port();
    const auto client = start();
    ASSERT_TRUE(client);
    ASSERT_TRUE(route(*client, kRedis, kFirst));
    ASSERT_TRUE(route(*client, kWeb, kSecond));
    user_ = Stream::connect(redis_);
    app_ = redis_server_.accept();
    ASSERT_TRUE(user_.send("x"));
    ASSERT_EQ(app_.receive(1), "x");
  }
  void expect_the_connection_to_live() {
    ASSERT_TRUE(user_.send("y"));
    EXPECT_EQ(app_.receive(1), "y");
    ASSERT_TRUE(app_.send("z"));
    EXPECT_EQ(user_.receive(1), "z");
  }
  void expect_at(std::uint16_t port, const Server& server) {
    const Stream user = Stream::connect(port);
    const Stream app = server.accept();
    ASSERT_TRUE(user.send("n"));
    EXPECT_EQ(app.receive(1), "n");
  }

  Server redis_server_;
  Server web_server_;
  Stream user_;
  Stream app_;
};

TEST_F(ChangedAddressTest, TwoApplicationsChangePlaces) {
  former();
  std::swap(config_.applications[0].address->listen_port, config_.applications[2].address->listen_port);
  const auto client = start();
  ASSERT_TRUE(client);
  expect_the_connection_to_live();
  expect_at(web_, redis_server_);
  expect_at(redis_, web_server_);
}

TEST_F(ChangedAddressTest, OneHostBecomesEveryHostAndBack) {
  former();
  config_.applications[0].address->listen_host = "0.0.0.0";
  ASSERT_TRUE(start());
  expect_the_connection_to_live();
  expect_at(redis_, redis_server_);
  config_.applications[0].address->listen_host = "127.0.0.1";
  ASSERT_TRUE(start());
  expect_the_connection_to_live();
  expect_at(redis_, redis_server_);
}

TEST_F(ChangedAddressTest, WhenOneCannotBeHadAllStayAsTheyWere) {
  former();
  const Server stranger;
  config_.applications[0].address->listen_port = web_;
  config_.applications[2].address->listen_port = stranger.port();
  const auto refused = GatewayClient::start(
      loop_, config_, directory_.path(), [](auto, auto) { return std::nullopt; }, [](const auto&) {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("application \"web\": cannot listen on 127.0.0.1:"));
  expect_the_connection_to_live();
  expect_at(redis_, redis_server_);
  expect_at(web_, web_server_);
}

}  // namespace
}  // namespace understudy::gateway

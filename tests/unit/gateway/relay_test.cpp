#include "../process_with_network.hpp"
#include "gateway/limits.hpp"
#include "gateway/services.hpp"
#include "sockets.hpp"

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace understudy::gateway {
namespace {

using test::free_port;
using test::Server;
using test::Stream;

// A gateway's services on a thread of their own; what is asked of them runs there and has happened on return.
class ServicesTest : public testing::Test {
 protected:
  template <class Work>
  auto on_loop(Work work) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto done = task.get_future();
    boost::asio::post(loop_, [&] { task(); });
    return done.get();
  }
  ~ServicesTest() override {
    on_loop([&] { services_.reset(); });
    work_.reset();
    thread_.join();
  }

  void listen(config::WhileDown while_down = config::WhileDown::wait, std::uint32_t wait_limit_ms = 60'000) {
    const auto done = on_loop([&] {
      return services_->listen({"app", "127.0.0.1", port_, while_down, wait_limit_ms});
    });
    ASSERT_TRUE(done.has_value()) << done.error().message;
  }
  void route(const Server& server) { route(server.port()); }
  void route(std::uint16_t port) {
    const auto done = on_loop([&] { return services_->route({"app", "127.0.0.1", port}); });
    ASSERT_TRUE(done.has_value()) << done.error().message;
  }
  void withdraw() {
    ASSERT_TRUE(on_loop([&] { return services_->withdraw({"app"}); }).has_value());
  }
  ServiceStatus status() {
    return on_loop([&] { return services_->status().at(0); });
  }
  // The gateway has taken note of so many; an event of its loop, awaited by asking the loop.
  template <class Predicate>
  bool eventually(Predicate predicate) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(test::kPatience_ms);
    while (std::chrono::steady_clock::now() < deadline) {
      if (predicate(status())) return true;
      std::this_thread::yield();
    }
    return false;
  }
  bool eventually_waiting(std::uint64_t count) {
    return eventually([&](const ServiceStatus& now) { return now.waiting == count; });
  }

  std::uint16_t port_ = free_port();
  boost::asio::io_context loop_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{loop_.get_executor()};
  std::unique_ptr<Services> services_ = std::make_unique<Services>(loop_, 4000);
  std::thread thread_{[this] { loop_.run(); }};
};

std::string pattern(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  std::uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

TEST_F(ServicesTest, BytesArriveUnchangedInBothDirections) {
  Server server;
  listen();
  route(server);
  const Stream client = Stream::connect(port_);
  const Stream app = server.accept();
  const std::string there = pattern(64 << 20, 1);
  const std::string back = pattern(48 << 20, 2);
  // All four ends at once: what stands still in one direction must not hold up the other.
  auto client_sends = std::async(std::launch::async, [&] { return client.send(there); });
  auto app_sends = std::async(std::launch::async, [&] { return app.send(back); });
  auto app_has = std::async(std::launch::async, [&] { return app.receive(there.size()); });
  const std::string client_has = client.receive(back.size());
  EXPECT_TRUE(client_has == back);
  EXPECT_TRUE(app_has.get() == there);
  EXPECT_TRUE(client_sends.get());
  EXPECT_TRUE(app_sends.get());
}

TEST_F(ServicesTest, SmallMessagesGoBackAndForthAtOnce) {
  Server server;
  listen();
  route(server);
  const Stream client = Stream::connect(port_);
  const Stream app = server.accept();
  for (int i = 0; i < 2000; ++i) {
    const std::string message = "ping " + std::to_string(i);
    ASSERT_TRUE(client.send(message));
    ASSERT_EQ(app.receive(message.size()), message);
    ASSERT_TRUE(app.send("+" + message));
    ASSERT_EQ(client.receive(message.size() + 1), "+" + message);
  }
}

TEST_F(ServicesTest, AReceiverThatDoesNotReadHoldsUpTheSenderAndNobodyElse) {
  Server server;
  listen();
  route(server);
  const Stream slow = Stream::connect(port_);
  const Stream slow_app = server.accept();
  const Stream quick = Stream::connect(port_);
  const Stream quick_app = server.accept();
  constexpr std::size_t kMuch = 512 << 20;
  const std::size_t sent = slow.send_until_full(kMuch);
  EXPECT_LT(sent, kMuch) << "the gateway took everything and must hold it in memory";
  ASSERT_TRUE(quick.send("hello"));
  EXPECT_EQ(quick_app.receive(5), "hello");
  EXPECT_EQ(slow_app.receive(sent).size(), sent);  // nothing of it was lost
}

TEST_F(ServicesTest, AnEndInOneDirectionLeavesTheOther) {
  Server server;
  listen();
  route(server);
  Stream client = Stream::connect(port_);
  Stream app = server.accept();
  ASSERT_TRUE(client.send("question"));
  client.shutdown_send();
  EXPECT_EQ(app.receive(8), "question");
  EXPECT_EQ(app.ending(), 0);
  ASSERT_TRUE(app.send("a long answer"));
  EXPECT_EQ(client.receive(13), "a long answer");
  app.shutdown_send();
  EXPECT_EQ(client.ending(), 0);
  EXPECT_TRUE(eventually([](const ServiceStatus& now) { return now.connections == 0; }));
}

// Nobody read from it any more, so nobody saw it go: the application kept a connection for ever.
TEST_F(ServicesTest, WhoeverHasEndedOneDirectionIsStillWatched) {
  Server server;
  listen();
  route(server);
  Stream client = Stream::connect(port_);
  const Stream app = server.accept();
  client.shutdown_send();
  ASSERT_EQ(app.ending(), 0);
  client.reset();
  EXPECT_TRUE(eventually([](const ServiceStatus& now) { return now.connections == 0; }));
  EXPECT_FALSE(app.send("x")) << "the application is told";

  const Stream other = Stream::connect(port_);
  Stream other_app = server.accept();
  ASSERT_TRUE(other.send("x"));
  ASSERT_EQ(other_app.receive(1), "x");
  other_app.shutdown_send();
  ASSERT_EQ(other.ending(), 0);
  other_app.reset();
  EXPECT_TRUE(eventually([](const ServiceStatus& now) { return now.connections == 0; }));
}

TEST_F(ServicesTest, UrgentDataBeforeAnEndDoesNotHideABreak) {
  Server server;
  listen();
  route(server);
  Stream client = Stream::connect(port_);
  const Stream app = server.accept();
  ASSERT_EQ(::send(client.fd(), "!", 1, MSG_OOB), 1);
  ASSERT_TRUE(client.send("word"));
  client.shutdown_send();
  EXPECT_EQ(app.receive(4), "word");
  EXPECT_EQ(app.ending(), 0);
  client.reset();
  EXPECT_TRUE(eventually([](const ServiceStatus& now) { return now.connections == 0; }));
}

TEST_F(ServicesTest, WhatWasSentBeforeAnEndArrivesBeforeIt) {
  Server server;
  listen();
  route(server);
  Stream client = Stream::connect(port_);
  const Stream app = server.accept();
  const std::string much = pattern(8 << 20, 3);
  auto sends = std::async(std::launch::async, [&] {
    const bool all = client.send(much);
    client.close();
    return all;
  });
  EXPECT_TRUE(app.receive(much.size()) == much);
  EXPECT_EQ(app.ending(), 0);
  EXPECT_TRUE(sends.get());
}

TEST_F(ServicesTest, AResetIsPassedOn) {
  Server server;
  listen();
  route(server);
  Stream client = Stream::connect(port_);
  const Stream app = server.accept();
  client.reset();
  EXPECT_EQ(app.ending(), ECONNRESET);
  const Stream other = Stream::connect(port_);
  Stream other_app = server.accept();
  // A reset that comes before the gateway saw its connection would be one more failed attempt.
  ASSERT_TRUE(other.send("x"));
  ASSERT_EQ(other_app.receive(1), "x");
  other_app.reset();
  EXPECT_EQ(other.ending(), ECONNRESET);
  EXPECT_TRUE(eventually([](const ServiceStatus& now) { return now.connections == 0; }));
}

TEST_F(ServicesTest, WithdrawingResetsEveryConnectionAtOnce) {
  Server server;
  listen();
  route(server);
  std::vector<Stream> clients;
  std::vector<Stream> apps;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(Stream::connect(port_));
    apps.push_back(server.accept());
  }
  ASSERT_TRUE(clients[0].send("x"));
  ASSERT_EQ(apps[0].receive(1), "x");
  withdraw();
  for (const Stream& client : clients) EXPECT_EQ(client.ending(), ECONNRESET);
  for (const Stream& app : apps) EXPECT_EQ(app.ending(), ECONNRESET);
  EXPECT_EQ(status().cut, 20u);
}

// Even what the gateway had read and could not pass on yet stays away from the former holder.
TEST_F(ServicesTest, NothingReachesTheFormerUpstreamAfterAWithdrawal) {
  Server old_server;
  Server new_server;
  listen();
  route(old_server);
  const Stream before = Stream::connect(port_);
  const Stream old_app = old_server.accept();
  const std::size_t sent = before.send_until_full(512 << 20);
  withdraw();
  // What the former application finds in its own receive buffer was there before; its connection is reset.
  std::size_t left = 0;
  std::string chunk(1 << 20, '\0');
  for (;;) {
    const ssize_t count = ::recv(old_app.fd(), chunk.data(), chunk.size(), 0);
    if (count <= 0) break;
    left += static_cast<std::size_t>(count);
  }
  EXPECT_LT(left, sent);
  const Stream waiting = Stream::connect(port_);
  ASSERT_TRUE(waiting.send("for the new one"));
  ASSERT_TRUE(eventually_waiting(1));
  EXPECT_FALSE(old_server.has_connection(0));
  route(new_server);
  const Stream new_app = new_server.accept();
  EXPECT_EQ(new_app.receive(15), "for the new one");
  EXPECT_FALSE(old_server.has_connection(0));
}

// Clients that come all the time while the address moves back and forth: after each withdrawal has returned,
// its upstream sees no new connection and no byte.
TEST_F(ServicesTest, NoConnectionCrossesAWithdrawal) {
  listen();
  std::atomic<bool> done{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&] {
      while (!done) {
        Stream client = Stream::connect(port_);
        client.send("hello");
        (void)client.readable(1);
        client.reset();
      }
    });
  }
  std::uint64_t reached = 0;
  for (int round = 0; round < 150; ++round) {
    Server server;
    route(server);
    if (server.has_connection(2)) ++reached;
    withdraw();
    // Everything that the gateway connected was reset before withdraw() returned: take it all, and see no
    // live one.
    while (server.has_connection(0)) {
      const Stream app = server.accept();
      char byte = 0;
      ssize_t count = 0;
      while ((count = ::recv(app.fd(), &byte, 1, MSG_DONTWAIT)) > 0) {
      }
      EXPECT_FALSE(count < 0 && errno == EAGAIN) << "a connection is alive after its route was withdrawn";
    }
  }
  done = true;
  for (std::thread& client : clients) client.join();
  EXPECT_GT(reached, 0u);
}

TEST_F(ServicesTest, ClientsWaitAndAreConnectedInTheOrderInWhichTheyCame) {
  Server server;
  listen();
  constexpr int kClients = 100;
  std::vector<Stream> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(Stream::connect(port_));
    ASSERT_TRUE(clients.back().send(std::to_string(1000 + i)));
    ASSERT_TRUE(eventually_waiting(static_cast<std::uint64_t>(i) + 1));
  }
  route(server);
  for (int i = 0; i < kClients; ++i) {
    const Stream app = server.accept();
    ASSERT_EQ(app.receive(4), std::to_string(1000 + i));
    ASSERT_TRUE(app.send("ok"));
    ASSERT_EQ(clients[static_cast<std::size_t>(i)].receive(2), "ok");
  }
}

TEST_F(ServicesTest, WaitingClientsSurviveARouteThatIsWithdrawnBeforeItWorks) {
  listen();
  const Stream client = Stream::connect(port_);
  ASSERT_TRUE(client.send("still here"));
  ASSERT_TRUE(eventually_waiting(1));
  route(free_port());  // nobody listens there
  withdraw();
  EXPECT_EQ(status().waiting, 1u);
  Server server;
  route(server);
  const Stream app = server.accept();
  EXPECT_EQ(app.receive(10), "still here");
}

TEST_F(ServicesTest, AnUpstreamThatIsNotThereYetIsTriedAgain) {
  listen();
  const std::uint16_t later = free_port();
  route(later);
  const Stream client = Stream::connect(port_);
  ASSERT_TRUE(client.send("patience"));
  ASSERT_TRUE(eventually_waiting(1));
  EXPECT_FALSE(client.readable(30));
  const Server server(later);
  ASSERT_TRUE(server.good());
  const Stream app = server.accept();
  EXPECT_EQ(app.receive(8), "patience");
}

TEST_F(ServicesTest, TheWaitLimitResetsWhoWaitedTooLong) {
  listen(config::WhileDown::wait, 50);
  const Stream client = Stream::connect(port_);
  EXPECT_EQ(client.ending(), ECONNRESET);
  route(free_port());  // nobody listens there: the limit holds for those who are being connected, too
  const Stream other = Stream::connect(port_);
  EXPECT_EQ(other.ending(), ECONNRESET);
  EXPECT_EQ(status().cut, 2u);
  EXPECT_EQ(status().waiting, 0u);
}

TEST_F(ServicesTest, OnlySoManyApplicationsHaveAnAddress) {
  // Each on an address of its own: 127.1.X.Y needs no setting up.
  const auto listen_as = [&](std::size_t i) {
    const std::string host = "127.1." + std::to_string(i / 250 + 1) + "." + std::to_string(i % 250 + 1);
    return on_loop([&] {
      return services_->listen({"app-" + std::to_string(i), host, port_, config::WhileDown::wait, 1});
    });
  };
  for (std::size_t i = 0; i < kMostServices; ++i) {
    const auto done = listen_as(i);
    ASSERT_TRUE(done.has_value()) << done.error().message;
  }
  const auto refused = listen_as(kMostServices);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "256 applications are listened for already, which is the most");
  EXPECT_TRUE(listen_as(0).has_value()) << "one that is known may still be changed";
}

TEST_F(ServicesTest, OnlySoManyWait) {
  listen();
  std::vector<Stream> clients;
  for (std::size_t i = 0; i < kMostWaiting; ++i) clients.push_back(Stream::connect(port_));
  ASSERT_TRUE(eventually_waiting(kMostWaiting));
  const Stream one_more = Stream::connect(port_);
  EXPECT_EQ(one_more.ending(), ECONNRESET);
  EXPECT_EQ(clients[0].ending(0), EAGAIN);  // those who came first are still held
}

TEST_F(ServicesTest, ThoseWhoLeftMakeRoom) {
  listen();
  {
    std::vector<Stream> impatient;
    for (std::size_t i = 0; i < kMostWaiting; ++i) impatient.push_back(Stream::connect(port_));
    ASSERT_TRUE(eventually_waiting(kMostWaiting));
  }
  Stream client = Stream::connect(port_);
  ASSERT_TRUE(eventually([](const ServiceStatus& now) { return now.waiting == 1; }));
  Server server;
  route(server);
  ASSERT_TRUE(client.send("x"));
  EXPECT_EQ(server.accept().receive(1), "x");
}

TEST_F(ServicesTest, RefusingMeansThatTheConnectionIsRefused) {
  Server server;
  listen(config::WhileDown::refuse);
  int error = 0;
  (void)Stream::connect(port_, &error);
  EXPECT_EQ(error, ECONNREFUSED);
  for (int round = 0; round < 3; ++round) {
    route(server);
    const Stream client = Stream::connect(port_, &error);
    ASSERT_EQ(error, 0);
    const Stream app = server.accept();
    ASSERT_TRUE(client.send("x"));
    ASSERT_EQ(app.receive(1), "x");
    withdraw();
    EXPECT_EQ(client.ending(), ECONNRESET);
    (void)Stream::connect(port_, &error);
    EXPECT_EQ(error, ECONNREFUSED);
  }
  // The port stays the application's meanwhile.
  EXPECT_FALSE(Server(port_).good());
  EXPECT_FALSE(status().listening);
}

TEST_F(ServicesTest, ChangingToRefuseTurnsThoseWhoWaitAway) {
  listen();
  const Stream client = Stream::connect(port_);
  ASSERT_TRUE(eventually_waiting(1));
  listen(config::WhileDown::refuse);
  EXPECT_EQ(client.ending(), ECONNRESET);
  listen(config::WhileDown::wait);
  const Stream again = Stream::connect(port_);
  EXPECT_TRUE(eventually_waiting(1));
}

TEST_F(ServicesTest, TheSameRouteAgainCutsNobody) {
  Server server;
  listen();
  route(server);
  const Stream client = Stream::connect(port_);
  const Stream app = server.accept();
  route(server);
  listen();
  ASSERT_TRUE(client.send("x"));
  EXPECT_EQ(app.receive(1), "x");
  Server other;
  route(other);  // another one is a withdrawal first
  EXPECT_EQ(client.ending(), ECONNRESET);
}

// The port was the guest's QEMU's, which has ended, and somebody else has taken it.
TEST_F(ServicesTest, NobodyIsLedToAPortThatSomebodyElseHasTaken) {
  Server server;
  listen();
  const auto route_for = [&](std::uint32_t uid) {
    const auto done = on_loop([&] {
      return services_->route(request::Route{"app", "127.0.0.1", server.port(), uid});
    });
    ASSERT_TRUE(done) << done.error().message;
  };
  route_for(::geteuid() + 1);
  const Stream client = Stream::connect(port_);
  ASSERT_TRUE(client.send("secret"));
  const Stream wrong = server.accept();
  const int ending = wrong.ending();
  EXPECT_TRUE(ending == 0 || ending == ECONNRESET) << "it is broken off without a byte";
  EXPECT_TRUE(eventually_waiting(1));
  // It is his again: the same route, and the same client.
  route_for(::geteuid());
  for (;;) {
    const Stream app = server.accept();
    const std::string heard = app.receive(6);
    if (heard.empty()) continue;  // one that was broken off before
    EXPECT_EQ(heard, "secret");
    break;
  }
}

TEST_F(ServicesTest, AnAddressInUseIsSaid) {
  const auto done = on_loop([&] {
    return services_->listen({"app", "127.0.0.1", port_, config::WhileDown::wait, 1000});
  });
  EXPECT_TRUE(done.has_value());
  Server server;
  const auto taken = on_loop([&] {
    return services_->listen({"app", "127.0.0.1", server.port(), config::WhileDown::wait, 1000});
  });
  ASSERT_FALSE(taken.has_value());
  EXPECT_NE(taken.error().message.find("Address already in use"), std::string::npos) << taken.error().message;
  EXPECT_EQ(on_loop([&] { return services_->status().size(); }), 1u);  // the former address is kept
}

TEST_F(ServicesTest, WhenEveryConnectionIsTakenTheNextWaitInTheKernel) {
  on_loop([&] { services_ = std::make_unique<Services>(loop_, 3); });
  Server server;
  listen();
  route(server);
  std::vector<Stream> clients;
  std::vector<Stream> apps;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(Stream::connect(port_));
    apps.push_back(server.accept());
  }
  const Stream fourth = Stream::connect(port_);
  ASSERT_TRUE(eventually([](const ServiceStatus& now) { return !now.paused.empty(); }));
  EXPECT_FALSE(server.has_connection(0));
  ASSERT_TRUE(clients[1].send("works on"));
  EXPECT_EQ(apps[1].receive(8), "works on");
  clients[0].reset();
  const Stream app = server.accept();
  ASSERT_TRUE(fourth.send("x"));
  EXPECT_EQ(app.receive(1), "x");
}

using understudy::test::NetworkBy;
using understudy::test::ProcessWithNetwork;

class OtherNetworkTest : public ServicesTest, public testing::WithParamInterface<NetworkBy> {
 protected:
  void SetUp() override {
    if (!qemu_.ready()) GTEST_SKIP() << "this user may not make networks";
    listen();
  }
  Result<void> route_into(const ProcessWithNetwork& process, std::uint32_t uid = kQemu) {
    return on_loop([&] {
      return services_->route({"app", "127.0.0.1", stranger_.port(), uid, process.pid()});
    });
  }
  static constexpr uid_t kQemu = 4711;
  // In our own network somebody else listens at the same port.
  Server stranger_;
  ProcessWithNetwork qemu_{stranger_.port(), "a", kQemu, GetParam()};
};

TEST_P(OtherNetworkTest, ClientsAreLedIntoItAndToNobodyHere) {
  ASSERT_TRUE(route_into(qemu_));
  EXPECT_EQ(Stream::connect(port_).receive(1), "a");
  EXPECT_EQ(status().pid, qemu_.pid());
  EXPECT_FALSE(stranger_.has_connection(0));
}

TEST_P(OtherNetworkTest, WhenItsProcessHasEndedClientsWait) {
  ASSERT_TRUE(route_into(qemu_));
  const Stream connected = Stream::connect(port_);
  EXPECT_EQ(connected.receive(1), "a");
  qemu_.end();
  EXPECT_NE(connected.ending(), EAGAIN);
  const Stream client = Stream::connect(port_);
  EXPECT_TRUE(eventually_waiting(1));
  EXPECT_EQ(client.ending(50), EAGAIN);
  EXPECT_FALSE(stranger_.has_connection(0));
  const ProcessWithNetwork next(stranger_.port(), "b", kQemu, GetParam());
  ASSERT_TRUE(route_into(next));
  EXPECT_EQ(client.receive(1), "b");
}

TEST_P(OtherNetworkTest, TheSamePortOfAnotherProcessIsAnotherPlace) {
  const ProcessWithNetwork other(stranger_.port(), "b", kQemu, GetParam());
  ASSERT_TRUE(route_into(qemu_));
  const Stream client = Stream::connect(port_);
  EXPECT_EQ(client.receive(1), "a");
  ASSERT_TRUE(route_into(other));
  EXPECT_EQ(client.ending(), ECONNRESET);
  EXPECT_EQ(Stream::connect(port_).receive(1), "b");
}

TEST_P(OtherNetworkTest, AnotherUserInItAnswersNobody) {
  ASSERT_TRUE(route_into(qemu_, kQemu + 1));
  const Stream client = Stream::connect(port_);
  EXPECT_TRUE(eventually_waiting(1));
  EXPECT_EQ(client.ending(50), EAGAIN);
}

TEST_P(OtherNetworkTest, OfAProcessThatIsGoneTheRouteIsRefused) {
  ASSERT_TRUE(route_into(qemu_));
  const auto refused = on_loop([&] { return services_->route({"app", "127.0.0.1", 1, kQemu, 0x3FFFFFFF}); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "the network of process 1073741823: No such file or directory");
  EXPECT_EQ(Stream::connect(port_).receive(1), "a") << "where it led, it leads";
}

INSTANTIATE_TEST_SUITE_P(Made, OtherNetworkTest, testing::Values(NetworkBy::root, NetworkBy::its_user),
                         [](const auto& by) { return by.param == NetworkBy::root ? "byRoot" : "byItsUser"; });

}  // namespace
}  // namespace understudy::gateway

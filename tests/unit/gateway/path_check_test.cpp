#include "gateway/path_check.hpp"

#include "../process_with_network.hpp"
#include "gateway/limits.hpp"
#include "sockets.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

namespace understudy::gateway {
namespace {

using test::Server;
using test::Stream;
using testing::HasSubstr;

// What QEMU's forward does: accepts, and then passes on what the guest made of it.
class PathCheckTest : public testing::Test {
 protected:
  void start(milliseconds settled = kPathWatch) {
    check_ = PathCheck::start(
        loop_, {server_.port(), 6379, owner_, std::move(network_)}, settled,
        {.open = [this] { opened_ = true; }, .refused = [this](const std::string& why) { refused_ = why; }});
  }
  template <class Predicate>
  bool until(Predicate predicate) {
    const auto deadline = std::chrono::steady_clock::now() + milliseconds(test::kPatience_ms);
    while (!predicate() && std::chrono::steady_clock::now() < deadline) {
      loop_.restart();
      loop_.run_one_for(milliseconds(10));
    }
    return predicate();
  }
  Stream accept() {
    loop_.run_for(milliseconds(1));
    return server_.accept();
  }

  boost::asio::io_context loop_;
  Server server_;
  std::shared_ptr<PathCheck> check_;
  bool opened_ = false;
  std::string refused_;
  std::optional<std::uint32_t> owner_ = ::geteuid();
  ProcessNetwork network_;
};

TEST_F(PathCheckTest, ItLooksIntoTheNetworkOfItsQemu) {
  const understudy::test::ProcessWithNetwork qemu(server_.port(), "");
  if (!qemu.ready()) GTEST_SKIP() << "this user may not make networks";
  auto network = ProcessNetwork::of(qemu.pid());
  ASSERT_TRUE(network) << network.error().message;
  network_ = std::move(*network);
  start();
  ASSERT_TRUE(until([&] { return opened_; }));
  EXPECT_FALSE(server_.has_connection(0)) << "who listens in ours met nobody";
}

TEST_F(PathCheckTest, WhoListensInsteadOfQemuServesNobody) {
  owner_ = ::geteuid() + 1;
  start();
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
  EXPECT_THAT(refused_, HasSubstr("not its QEMU, but somebody else listens"));
  EXPECT_FALSE(opened_);
}

TEST_F(PathCheckTest, AServerThatWaitsForTheFirstWordIsOpen) {
  start();
  const Stream app = accept();
  ASSERT_TRUE(until([&] { return opened_; }));
  loop_.restart();
  loop_.run();  // to the end of the watch
  EXPECT_EQ(refused_, "");
  EXPECT_EQ(app.ending(0), 0) << "ended in good order, and not a byte was sent";
}

TEST_F(PathCheckTest, AServerThatGreetsIsOpen) {
  start();
  const Stream app = accept();
  ASSERT_TRUE(app.send("220 mail.example.com ready\r\n"));
  ASSERT_TRUE(until([&] { return opened_; }));
  EXPECT_EQ(refused_, "");
}

// A server on the guest's loopback alone: its kernel refuses, and QEMU resets or closes what it had accepted.
TEST_F(PathCheckTest, AConnectionThatIsResetNamesTheLikelyCause) {
  start();
  accept().reset();
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
  EXPECT_FALSE(opened_);
  EXPECT_THAT(refused_, HasSubstr("port 6379"));
  EXPECT_THAT(refused_, HasSubstr("127.0.0.1 only (let it listen on 0.0.0.0)"));
}

TEST_F(PathCheckTest, AConnectionThatIsClosedNamesTheLikelyCause) {
  start();
  accept().close();
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
  EXPECT_FALSE(opened_);
  EXPECT_THAT(refused_, HasSubstr("let it listen on 0.0.0.0"));
}

// Redis in protected mode. What it says is shown as a part of our sentence, whatever is in it.
TEST_F(PathCheckTest, AServerThatTurnsStrangersAwayIsQuoted) {
  start();
  Stream app = accept();
  ASSERT_TRUE(app.send("-DENIED Redis is running in protected\x1b[2J mode\r\nsecond line\r\n"));
  app.close();
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
  EXPECT_FALSE(opened_);
  EXPECT_THAT(refused_, HasSubstr("\"-DENIED Redis is running in protected?[2J mode\""));
  EXPECT_THAT(refused_, testing::Not(HasSubstr("second")));
}

TEST_F(PathCheckTest, WhatIsHeardIsBounded) {
  start();
  Stream app = accept();
  (void)app.send(std::string(100'000, 'x'));
  loop_.run_for(milliseconds(20));
  app.reset();
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
  EXPECT_LT(refused_.size(), kMostHeardBytes + 300);
}

TEST_F(PathCheckTest, NobodyAtTheForwardIsSaid) {
  server_.close();
  start();
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
  EXPECT_THAT(refused_, HasSubstr("takes no connection"));
}

TEST_F(PathCheckTest, AShortLookThatWasTooShortIsCorrected) {
  start(milliseconds(1));
  Stream app = accept();
  ASSERT_TRUE(until([&] { return opened_; }));
  app.reset();
  ASSERT_TRUE(until([&] { return !refused_.empty(); }));
}

TEST_F(PathCheckTest, OnceStoppedItSaysNothing) {
  start();
  Stream app = accept();
  check_->stop();
  app.reset();
  loop_.restart();
  loop_.run();  // nothing is waited for any more
  EXPECT_FALSE(opened_);
  EXPECT_EQ(refused_, "");
}

}  // namespace
}  // namespace understudy::gateway

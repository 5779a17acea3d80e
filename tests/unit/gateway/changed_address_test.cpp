// The next daemon has another file.
#include "gateway/limits.hpp"
#include "gateway_client_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <string>
#include <vector>

namespace understudy::gateway {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

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

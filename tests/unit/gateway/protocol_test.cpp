#include "gateway/protocol.hpp"

#include "gateway/limits.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace understudy::gateway {
namespace {

using testing::HasSubstr;

template <class T>
T read_back(const Request& request) {
  const auto numbered = parse_request(request_line(7, request));
  if (!numbered) {
    ADD_FAILURE() << numbered.error().why;
    return {};
  }
  EXPECT_EQ(numbered->id, 7u);
  return std::get<T>(numbered->request);
}

TEST(Protocol, RequestsAreReadAsTheyWereWritten) {
  const auto listen =
      read_back<request::Listen>(request::Listen{"redis", "::1", 6379, config::WhileDown::refuse, 1500});
  EXPECT_EQ(listen.app, "redis");
  EXPECT_EQ(listen.host, "::1");
  EXPECT_EQ(listen.port, 6379);
  EXPECT_EQ(listen.while_down, config::WhileDown::refuse);
  EXPECT_EQ(listen.wait_limit_ms, 1500u);
  const auto route = read_back<request::Route>(request::Route{"redis", "127.0.0.1", 40001, 65536, 4711});
  EXPECT_EQ(route.app, "redis");
  EXPECT_EQ(route.host, "127.0.0.1");
  EXPECT_EQ(route.port, 40001);
  EXPECT_EQ(route.uid, 65536U);
  EXPECT_EQ(route.pid, 4711);
  EXPECT_EQ(read_back<request::Route>(request::Route{"redis", "127.0.0.1", 40001}).pid, std::nullopt);
  EXPECT_EQ(read_back<request::Withdraw>(request::Withdraw{"a"}).app, "a");
  EXPECT_EQ(read_back<request::Forget>(request::Forget{"b"}).app, "b");
  EXPECT_EQ(read_back<request::Release>(request::Release{"c"}).app, "c");
  (void)read_back<request::Status>(request::Status{});
  (void)read_back<request::Quit>(request::Quit{});
}

TEST(Protocol, AnswersAreReadAsTheyWereWritten) {
  Answer answer;
  answer.id = 3;
  answer.ok = true;
  answer.pid = 42;
  answer.services = {{"redis", "127.0.0.1:1", true, "127.0.0.1:2", 3, 4, 5, 6, "", 4711},
                     {"db", "[::1]:7", false, {}, 0, 0, 0, 0, "no descriptors"}};
  answer.enters_networks = answer.enters_user_namespaces = true;
  const auto read = parse_answer(answer_line(answer));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->id, 3u);
  EXPECT_TRUE(read->enters_networks);
  EXPECT_TRUE(read->enters_user_namespaces);
  EXPECT_TRUE(read->ok);
  EXPECT_EQ(read->pid, 42);
  ASSERT_EQ(read->services.size(), 2u);
  EXPECT_EQ(read->services[0].upstream, "127.0.0.1:2");
  EXPECT_EQ(read->services[0].connections, 3u);
  EXPECT_EQ(read->services[0].waiting, 4u);
  EXPECT_EQ(read->services[0].served, 5u);
  EXPECT_EQ(read->services[0].cut, 6u);
  EXPECT_EQ(read->services[0].pid, 4711);
  EXPECT_EQ(read->services[1].pid, std::nullopt);
  EXPECT_EQ(read->services[1].address, "[::1]:7");
  EXPECT_FALSE(read->services[1].listening);
  EXPECT_EQ(read->services[1].upstream, std::nullopt);
  EXPECT_EQ(read->services[1].paused, "no descriptors");
}

TEST(Protocol, AGatewayOfAnEarlierReleaseEntersNoNetworksOrRootsAlone) {
  const auto read = parse_answer(R"({"v":1,"id":1,"ok":true,"pid":7,"services":[]})");
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_FALSE(read->enters_networks);
  const auto later = parse_answer(R"({"v":1,"id":1,"ok":true,"pid":7,"services":[],"enters_networks":true})");
  ASSERT_TRUE(later.has_value()) << later.error().message;
  EXPECT_TRUE(later->enters_networks_of(0));
  EXPECT_FALSE(later->enters_networks_of(1000));
}

std::string refusal(std::string_view line) {
  const auto read = parse_request(line);
  return read ? "accepted" : read.error().why;
}

TEST(Protocol, BadRequestsAreRefusedWithTheReason) {
  EXPECT_EQ(refusal(""), "the line is not a JSON object");
  EXPECT_EQ(refusal("garbage"), "the line is not a JSON object");
  EXPECT_EQ(refusal("[1]"), "the line is not a JSON object");
  EXPECT_EQ(refusal(std::string(1000, '[')), "the line is not a JSON object");
  EXPECT_EQ(refusal("{}"), "\"id\" has to be a number from 0 to 9223372036854775807");
  EXPECT_EQ(refusal(R"({"v":1,"id":-1,"op":"status"})"),
            "\"id\" has to be a number from 0 to 9223372036854775807");
  EXPECT_THAT(refusal(R"({"v":2,"id":1,"op":"status"})"), HasSubstr("speaks version 1, not 2"));
  EXPECT_EQ(refusal(R"({"v":1,"id":1,"op":"dance"})"),
            "\"op\" has to be listen, route, withdraw, release, forget, status or quit");
  EXPECT_EQ(refusal(R"({"v":1,"id":1,"op":"withdraw"})"), "\"app\" has to be a string");
  EXPECT_EQ(refusal(R"({"v":1,"id":1,"op":"withdraw","app":""})"),
            "\"app\" has to be a name of at most 64 bytes");
  EXPECT_THAT(refusal(R"({"v":1,"id":1,"op":"route","app":"a","host":"example.org","port":1})"),
              HasSubstr("\"host\""));
  EXPECT_THAT(refusal(R"({"v":1,"id":1,"op":"route","app":"a","host":"127.0.0.1","port":0})"),
              HasSubstr("\"host\""));
  EXPECT_THAT(refusal(R"({"v":1,"id":1,"op":"route","app":"a","host":"127.0.0.1","port":70000})"),
              HasSubstr("\"port\""));
  EXPECT_THAT(
      refusal(
          R"({"v":1,"id":1,"op":"listen","app":"a","address":"127.0.0.1:1","while_down":"x","wait_limit_ms":1})"),
      HasSubstr("\"while_down\""));
  EXPECT_THAT(
      refusal(
          R"({"v":1,"id":1,"op":"listen","app":"a","address":"nowhere","while_down":"wait","wait_limit_ms":1})"),
      HasSubstr("\"address\""));
}

TEST(Protocol, NamesPortsAndWaitsHaveTheirLimits) {
  const auto withdraw = [](std::size_t bytes) {
    return refusal(R"({"v":1,"id":1,"op":"withdraw","app":")" + std::string(bytes, 'a') + "\"}");
  };
  EXPECT_EQ(withdraw(kLongestAppName), "accepted");
  EXPECT_EQ(withdraw(kLongestAppName + 1), "\"app\" has to be a name of at most 64 bytes");
  const auto listen = [](std::uint64_t wait_limit_ms) {
    return refusal(
        R"({"v":1,"id":1,"op":"listen","app":"a","address":"127.0.0.1:1","while_down":"wait","wait_limit_ms":)" +
        std::to_string(wait_limit_ms) + "}");
  };
  EXPECT_EQ(listen(kLongestWaitMs), "accepted");
  EXPECT_EQ(listen(kLongestWaitMs + 1), "\"wait_limit_ms\" has to be a number from 0 to 86400000");
  const auto route = [](const std::string& port) {
    return refusal(R"({"v":1,"id":1,"op":"route","app":"a","host":"127.0.0.1","port":)" + port + "}");
  };
  EXPECT_EQ(route("65535"), "accepted");
  EXPECT_EQ(route("65536"), "\"port\" has to be a number from 0 to 65535");
}

// Found by fuzz_gateway: such an answer was read, and lost its services when it was written again.
TEST(Protocol, AStatusOfNoProcessIsNone) {
  const auto answer = [](const std::string& pid) {
    return parse_answer(R"({"v":1,"id":1,"ok":true,"services":[],"pid":)" + pid + "}");
  };
  EXPECT_TRUE(answer("1").has_value());
  ASSERT_FALSE(answer("0").has_value());
  EXPECT_EQ(answer("0").error().message,
            "the gateway's answer: \"pid\" has to be a number from 1 to 2147483647");
}

TEST(Protocol, ARefusedRequestKeepsItsNumber) {
  const auto read = parse_request(R"({"v":1,"id":9,"op":"dance"})");
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().id, 9u);
}

TEST(Protocol, AStatusOfTheMostServicesFitsAnAnswer) {
  Answer answer;
  answer.id = static_cast<std::uint64_t>(INT64_MAX);
  answer.ok = true;
  answer.pid = INT32_MAX;
  const auto most = static_cast<std::uint64_t>(INT64_MAX);
  const std::string name(kLongestAppName, '\x01');  // six bytes each when written
  const std::string address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
  answer.services.assign(kMostServices, {name, address, true, address, most, most, most, most,
                                         std::string(200, 'x'), INT32_MAX});
  const std::string line = answer_line(answer);
  EXPECT_LE(line.size(), kLongestAnswer);
  EXPECT_TRUE(parse_answer(line).has_value());
}

TEST(Protocol, MutatedLinesComeBack) {
  std::mt19937 random(815);
  const std::string line =
      request_line(1, request::Listen{"redis", "127.0.0.1", 6379, config::WhileDown::wait, 1});
  ASSERT_TRUE(parse_request(line).has_value());
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string mutated = line;
    for (int change = 0; change < 3; ++change)
      mutated[random() % mutated.size()] = static_cast<char>(random() % 256);
    if (!parse_request(mutated)) ++refused;
    (void)parse_answer(mutated);
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace understudy::gateway

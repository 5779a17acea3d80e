#pragma once

#include "gateway/gateway_client.hpp"
#include "sockets.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

// The client and a real gateway process, which is this test program.
namespace understudy::gateway::test {

inline constexpr core::AppId kRedis{0};
inline constexpr core::AppId kPlain{1};  // has no address
inline constexpr core::AppId kWeb{2};
inline constexpr core::GuestRun kFirst{{0}, 1};
inline constexpr core::GuestRun kSecond{{1}, 1};

inline config::Application application(const std::string& name, std::optional<std::uint16_t> port) {
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
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience_ms);
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
  static void kill_and_await(pid_t process) {
    const UniqueFd gone(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
    ASSERT_EQ(::kill(process, SIGKILL), 0);
    pollfd end{gone.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&end, 1, kPatience_ms), 1);
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

}  // namespace understudy::gateway::test

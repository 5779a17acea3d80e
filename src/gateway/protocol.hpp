#pragma once

#include "base/error.hpp"
#include "config/config.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

// The lines on the gateway's control socket; docs/gateway.md describes them. Both sides use these functions.
namespace understudy::gateway {

inline constexpr std::int64_t kProtocolVersion = 1;

namespace request {

struct Listen {  // also changes an application that is listened for already
  std::string app;
  std::string host;  // numeric
  std::uint16_t port = 0;
  config::WhileDown while_down = config::WhileDown::wait;
  std::uint32_t wait_limit_ms = 0;
};
struct Route {
  std::string app;
  std::string host;  // numeric
  std::uint16_t port = 0;
  std::optional<std::uint32_t> uid{};  // of whoever listens there; nobody else's answer is passed on
  std::optional<std::int32_t> pid{};   // of the process in whose network that is; none: in the gateway's
};
struct Withdraw {
  std::string app;
};
struct Release {  // gives its address up, for another application or another address; keeps its connections
  std::string app;
};
struct Forget {  // no longer listens
  std::string app;
};
struct Status {};
struct Quit {};

}  // namespace request

using Request = std::variant<request::Listen, request::Route, request::Withdraw, request::Release,
                             request::Forget, request::Status, request::Quit>;

struct ServiceStatus {
  std::string app;
  std::string address;
  bool listening = false;
  std::optional<std::string> upstream;  // none: withdrawn
  std::uint64_t connections = 0;        // being relayed
  std::uint64_t waiting = 0;            // accepted, and not connected yet
  std::uint64_t served = 0;             // relayed since the start
  std::uint64_t cut = 0;                // reset since the start
  std::string paused;                   // why nothing is accepted now; empty: it is
  std::optional<std::int32_t> pid{};    // of its route
};

struct Answer {
  std::uint64_t id = 0;  // of its request; 0 when that could not be read
  bool ok = false;
  std::string error;                    // when not ok
  std::vector<ServiceStatus> services;  // of status
  std::int64_t pid = 0;                 // of status
  // Of status: it leads into other processes' networks (a route's `pid`), those that root made, and those
  // that came with a user namespace of its user's. Gateways of earlier releases do not, or only into root's.
  bool enters_networks = false;
  bool enters_user_namespaces = false;

  // Whether it leads into those that QEMUs of this user's get (base/own_network.hpp).
  [[nodiscard]] bool enters_networks_of(std::uint32_t uid) const {
    return uid == 0 ? enters_networks : enters_user_namespaces;
  }
};

struct NumberedRequest {
  std::uint64_t id = 0;
  Request request;
};
// A line that is no request; `id` is its number where it has one.
struct BadRequest {
  std::uint64_t id = 0;
  std::string why;
};

// Lines are without their end.
[[nodiscard]] std::string request_line(std::uint64_t id, const Request& request);
[[nodiscard]] tl::expected<NumberedRequest, BadRequest> parse_request(std::string_view line);
[[nodiscard]] std::string answer_line(const Answer& answer);
[[nodiscard]] Result<Answer> parse_answer(std::string_view line);

}  // namespace understudy::gateway

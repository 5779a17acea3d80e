#include "gateway/protocol.hpp"

#include "config/listen_address.hpp"
#include "gateway/limits.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace understudy::gateway {

namespace {

namespace json = boost::json;

std::string endpoint_text(const std::string& host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

struct ToJson {
  json::object& out;
  void operator()(const request::Listen& listen) const {
    out["op"] = "listen";
    out["app"] = listen.app;
    out["address"] = endpoint_text(listen.host, listen.port);
    out["while_down"] = listen.while_down == config::WhileDown::wait ? "wait" : "refuse";
    out["wait_limit_ms"] = listen.wait_limit_ms;
  }
  void operator()(const request::Route& route) const {
    out["op"] = "route";
    out["app"] = route.app;
    out["host"] = route.host;
    out["port"] = route.port;
    if (route.uid) out["uid"] = *route.uid;
    if (route.pid) out["pid"] = *route.pid;
  }
  void operator()(const request::Withdraw& withdraw) const {
    out["op"] = "withdraw";
    out["app"] = withdraw.app;
  }
  void operator()(const request::Release& release) const {
    out["op"] = "release";
    out["app"] = release.app;
  }
  void operator()(const request::Forget& forget) const {
    out["op"] = "forget";
    out["app"] = forget.app;
  }
  void operator()(const request::Status&) const { out["op"] = "status"; }
  void operator()(const request::Quit&) const { out["op"] = "quit"; }
};

// Reads members of an object that somebody else wrote; the first that is missing or wrong is kept as the
// error.
class Members {
 public:
  explicit Members(const json::object& object) : object_(object) {}

  std::string text(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value != nullptr && value->is_string()) return std::string(value->get_string());
    return wrong<std::string>(key, "a string");
  }
  std::string optional_text(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    return value == nullptr || value->is_null() ? std::string() : text(key);
  }
  [[nodiscard]] bool has(std::string_view key) const { return object_.if_contains(key) != nullptr; }
  std::uint64_t number(std::string_view key, std::uint64_t most, std::uint64_t least = 0) {
    const json::value* value = object_.if_contains(key);
    if (value != nullptr && value->is_int64() && value->get_int64() >= 0) {
      const auto number = static_cast<std::uint64_t>(value->get_int64());
      if (number >= least && number <= most) return number;
    }
    return wrong<std::uint64_t>(key, fmt::format("a number from {} to {}", least, most));
  }
  bool flag(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value != nullptr && value->is_bool()) return value->get_bool();
    return wrong<bool>(key, "true or false");
  }
  std::string app() {
    std::string name = text("app");
    if (why_.empty() && (name.empty() || name.size() > kLongestAppName)) {
      return wrong<std::string>("app", fmt::format("a name of at most {} bytes", kLongestAppName));
    }
    return name;
  }
  [[nodiscard]] const std::string& why() const { return why_; }

  template <class T>
  T wrong(std::string_view key, std::string_view wanted) {
    if (why_.empty()) why_ = fmt::format("\"{}\" has to be {}", key, wanted);
    return T{};
  }

 private:
  const json::object& object_;
  std::string why_;
};

request::Listen parse_listen(Members& members) {
  request::Listen listen;
  listen.app = members.app();
  const auto address = config::parse_listen_address(members.text("address"));
  if (address) {
    listen.host = address->host;
    listen.port = address->port;
  } else {
    members.wrong<int>("address", "an address and port: " + address.error().message);
  }
  const std::string while_down = members.text("while_down");
  if (while_down == "refuse") {
    listen.while_down = config::WhileDown::refuse;
  } else if (while_down != "wait") {
    members.wrong<int>("while_down", "wait or refuse");
  }
  listen.wait_limit_ms = static_cast<std::uint32_t>(members.number("wait_limit_ms", kLongestWaitMs));
  return listen;
}

request::Route parse_route(Members& members) {
  request::Route route;
  route.app = members.app();
  route.host = members.text("host");
  route.port = static_cast<std::uint16_t>(members.number("port", 65535));
  if (members.has("uid")) route.uid = static_cast<std::uint32_t>(members.number("uid", 0xFFFFFFFF));
  if (members.has("pid")) route.pid = static_cast<std::int32_t>(members.number("pid", INT32_MAX, 1));
  if (members.why().empty() && !config::parse_listen_address(endpoint_text(route.host, route.port))) {
    members.wrong<int>("host", "a numeric address, with a port that is not 0");
  }
  return route;
}

Request parse_operation(Members& members, const std::string& operation) {
  if (operation == "listen") return parse_listen(members);
  if (operation == "route") return parse_route(members);
  if (operation == "withdraw") return request::Withdraw{members.app()};
  if (operation == "release") return request::Release{members.app()};
  if (operation == "forget") return request::Forget{members.app()};
  if (operation == "status") return request::Status{};
  if (operation == "quit") return request::Quit{};
  members.wrong<int>("op", "listen, route, withdraw, release, forget, status or quit");
  return request::Status{};
}

json::object to_json(const ServiceStatus& service) {
  json::object out;
  out["app"] = service.app;
  out["address"] = service.address;
  out["listening"] = service.listening;
  out["upstream"] = service.upstream ? json::value(*service.upstream) : json::value(nullptr);
  if (service.pid) out["pid"] = *service.pid;
  out["connections"] = service.connections;
  out["waiting"] = service.waiting;
  out["served"] = service.served;
  out["cut"] = service.cut;
  if (!service.paused.empty()) out["paused"] = service.paused;
  return out;
}

ServiceStatus service_status(Members& members) {
  constexpr auto kMost = static_cast<std::uint64_t>(INT64_MAX);
  ServiceStatus service;
  service.app = members.text("app");
  service.address = members.text("address");
  service.listening = members.flag("listening");
  std::string upstream = members.optional_text("upstream");
  if (!upstream.empty()) service.upstream = std::move(upstream);
  if (members.has("pid")) service.pid = static_cast<std::int32_t>(members.number("pid", INT32_MAX, 1));
  service.connections = members.number("connections", kMost);
  service.waiting = members.number("waiting", kMost);
  service.served = members.number("served", kMost);
  service.cut = members.number("cut", kMost);
  service.paused = members.optional_text("paused");
  return service;
}

}  // namespace

std::string request_line(std::uint64_t id, const Request& request) {
  json::object out;
  out["v"] = kProtocolVersion;
  out["id"] = id;
  std::visit(ToJson{out}, request);
  return json::serialize(out);
}

tl::expected<NumberedRequest, BadRequest> parse_request(std::string_view line) {
  json::error_code error;
  const json::value value = json::parse(json::string_view(line.data(), line.size()), error);
  if (error || !value.is_object()) return tl::unexpected(BadRequest{0, "the line is not a JSON object"});
  Members members(value.get_object());
  NumberedRequest numbered;
  numbered.id = members.number("id", static_cast<std::uint64_t>(INT64_MAX));
  const std::uint64_t version = members.number("v", static_cast<std::uint64_t>(INT64_MAX));
  if (members.why().empty() && version != static_cast<std::uint64_t>(kProtocolVersion)) {
    return tl::unexpected(
        BadRequest{numbered.id, fmt::format("this gateway speaks version {}, not {}; end it with "
                                            "`understudy down` and start again",
                                            kProtocolVersion, version)});
  }
  const std::string operation = members.text("op");
  numbered.request = parse_operation(members, operation);
  if (!members.why().empty()) return tl::unexpected(BadRequest{numbered.id, members.why()});
  return numbered;
}

std::string answer_line(const Answer& answer) {
  json::object out;
  out["v"] = kProtocolVersion;
  out["id"] = answer.id;
  out["ok"] = answer.ok;
  if (!answer.ok) out["error"] = answer.error;
  if (answer.pid != 0) {
    out["pid"] = answer.pid;
    json::array services;
    for (const ServiceStatus& service : answer.services) services.push_back(to_json(service));
    out["services"] = std::move(services);
    out["enters_networks"] = answer.enters_networks;
    out["enters_user_namespaces"] = answer.enters_user_namespaces;
  }
  return json::serialize(out);
}

Result<Answer> parse_answer(std::string_view line) {
  json::error_code error;
  const json::value value = json::parse(json::string_view(line.data(), line.size()), error);
  if (error || !value.is_object()) return failure("the gateway's answer is not a JSON object");
  const json::object& object = value.get_object();
  Members members(object);
  Answer answer;
  answer.id = members.number("id", static_cast<std::uint64_t>(INT64_MAX));
  answer.ok = members.flag("ok");
  answer.error = members.optional_text("error");
  const auto has_flag = [&members](const char* name) { return members.has(name) && members.flag(name); };
  answer.enters_networks = has_flag("enters_networks");
  answer.enters_user_namespaces = has_flag("enters_user_namespaces");
  if (const json::value* services = object.if_contains("services");
      services != nullptr && services->is_array()) {
    answer.pid = static_cast<std::int64_t>(members.number("pid", static_cast<std::uint64_t>(INT32_MAX), 1));
    for (const json::value& service : services->get_array()) {
      if (!service.is_object()) return failure("the gateway's answer has a service that is no object");
      Members inner(service.get_object());
      answer.services.push_back(service_status(inner));
      if (!inner.why().empty()) return failure("the gateway's answer: " + inner.why());
    }
  }
  if (!members.why().empty()) return failure("the gateway's answer: " + members.why());
  return answer;
}

}  // namespace understudy::gateway

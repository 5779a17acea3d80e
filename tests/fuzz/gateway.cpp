// The lines between the daemon and its gateway, both ways, and the addresses in them. The input is one line.
#include "config/listen_address.hpp"
#include "gateway/protocol.hpp"
#include "property.hpp"

using namespace understudy;
using namespace understudy::gateway;
using fuzz::check_error;

namespace {

constexpr std::size_t kMostErrorBytes = 400;

struct Check {
  void operator()(const request::Listen& listen) const {
    check_app(listen.app);
    check_endpoint(listen.host, listen.port);
  }
  void operator()(const request::Route& route) const {
    check_app(route.app);
    check_endpoint(route.host, route.port);
  }
  void operator()(const request::Withdraw& withdraw) const { check_app(withdraw.app); }
  void operator()(const request::Forget& forget) const { check_app(forget.app); }
  void operator()(const request::Release& release) const { check_app(release.app); }
  void operator()(const request::Status&) const {}
  void operator()(const request::Quit&) const {}

  static void check_app(const std::string& app) { US_PROPERTY(!app.empty() && app.size() <= 64, app); }
  static void check_endpoint(const std::string& host, std::uint16_t port) {
    const bool v6 = host.find(':') != std::string::npos;
    const std::string text = (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
    const auto address = config::parse_listen_address(text);
    US_PROPERTY(address && address->port == port && port != 0, text);
  }
};

void check_request(std::string_view line) {
  const auto numbered = parse_request(line);
  if (!numbered) return check_error(numbered.error().why, kMostErrorBytes);
  std::visit(Check{}, numbered->request);
  const std::string written = request_line(numbered->id, numbered->request);
  US_PROPERTY(written.find('\n') == std::string::npos, written);
  const auto again = parse_request(written);
  US_PROPERTY(again && again->id == numbered->id && again->request.index() == numbered->request.index(),
              written);
  US_PROPERTY(request_line(again->id, again->request) == written, written);
}

void check_answer(std::string_view line) {
  const auto answer = parse_answer(line);
  if (!answer) return check_error(answer.error().message, kMostErrorBytes);
  const std::string written = answer_line(*answer);
  US_PROPERTY(written.find('\n') == std::string::npos, written);
  const auto again = parse_answer(written);
  US_PROPERTY(again && again->id == answer->id && again->ok == answer->ok, written);
  US_PROPERTY(again->services.size() == answer->services.size() && again->pid == answer->pid, written);
  US_PROPERTY(answer_line(*again) == written, written);
}

void check_address(std::string_view text) {
  const auto address = config::parse_listen_address(text);
  if (!address) return check_error(address.error().message, kMostErrorBytes);
  US_PROPERTY(config::clash(*address, *address), text);
  Check::check_endpoint(address->host, address->port);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line = fuzz::text_of(data, size);
  check_request(line);
  check_answer(line);
  check_address(line);
  return 0;
}

#include "config/listen_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <charconv>

namespace understudy::config {

namespace {

// The address in the one form that inet_ntop gives it, so that two spellings of one address compare equal.
std::string normal(int family, std::string_view host) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (::inet_pton(family, std::string(host).c_str(), bytes.data()) != 1) return {};
  if (::inet_ntop(family, bytes.data(), out.data(), out.size()) == nullptr) return {};
  return out.data();
}

bool every_host(const std::string& host) {
  return host == "0.0.0.0" || host == "::";
}

}  // namespace

Result<ListenAddress> parse_listen_address(std::string_view text) {
  constexpr const char* kForm =
      "write a numeric address and a port, such as \"127.0.0.1:6379\" or \"[::1]:6379\"";
  ListenAddress address;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return failure(std::string("the port is missing; ") + kForm);
  const std::string_view port = text.substr(colon + 1);
  const auto [end, code] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (code != std::errc() || end != port.data() + port.size() || address.port == 0) {
    return failure(std::string("the port is not a number from 1 to 65535; ") + kForm);
  }
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  if (host.find('\0') == std::string_view::npos) address.host = normal(brackets ? AF_INET6 : AF_INET, host);
  if (address.host.empty()) return failure(std::string("the host is not a numeric address; ") + kForm);
  return address;
}

bool clash(const ListenAddress& one, const ListenAddress& other) {
  return one.port == other.port && (one.host == other.host || every_host(one.host) || every_host(other.host));
}

}  // namespace understudy::config

#include "config/listen_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
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

bool is_v6(const std::string& host) {
  return host.find(':') != std::string::npos;
}

// An IPv4 address in the clothes of IPv6: a socket for IPv6 alone, as ours are, does not take it.
bool is_mapped_v4(const std::string& host) {
  in6_addr address{};
  return ::inet_pton(AF_INET6, host.c_str(), &address) == 1 && IN6_IS_ADDR_V4MAPPED(&address);
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
  if (is_mapped_v4(address.host)) {
    const std::string v4 = address.host.substr(address.host.rfind(':') + 1);
    return failure("it is an IPv4 address written as IPv6; write \"" + v4 + ":" +
                   std::to_string(address.port) + "\"");
  }
  return address;
}

tl::expected<UniqueFd, int> bound_socket(const ListenAddress& address) {
  const bool v6 = is_v6(address.host);
  UniqueFd socket(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  sockaddr_in6 to6{};
  sockaddr_in to4{};
  to6.sin6_family = AF_INET6;
  to6.sin6_port = to4.sin_port = htons(address.port);
  to4.sin_family = AF_INET;
  ::inet_pton(AF_INET6, address.host.c_str(), &to6.sin6_addr);
  ::inet_pton(AF_INET, address.host.c_str(), &to4.sin_addr);
  const auto* to = v6 ? reinterpret_cast<const sockaddr*>(&to6) : reinterpret_cast<const sockaddr*>(&to4);
  const bool good = socket &&
                    (!v6 || ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
                    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                    ::bind(socket.get(), to, v6 ? sizeof to6 : sizeof to4) == 0;
  if (!good) return tl::unexpected(errno);
  return socket;
}

bool clash(const ListenAddress& one, const ListenAddress& other) {
  if (one.port != other.port || is_v6(one.host) != is_v6(other.host)) return false;
  return one.host == other.host || every_host(one.host) || every_host(other.host);
}

}  // namespace understudy::config

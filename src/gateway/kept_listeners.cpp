#include "gateway/kept_listeners.hpp"

#include "gateway/limits.hpp"
#include "gateway/listener.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace understudy::gateway {

namespace {

std::optional<std::string> address_of(int socket) {
  int protocol = 0;
  socklen_t size = sizeof protocol;
  if (::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 || protocol != IPPROTO_TCP)
    return std::nullopt;
  Listener::Endpoint endpoint;
  size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(socket, endpoint.data(), &size) != 0 || endpoint.port() == 0) return std::nullopt;
  return text_of(endpoint);
}

}  // namespace

KeptListeners KeptListeners::inherited() {
  KeptListeners kept;
  const char* variable = std::getenv(kListenersVariable);
  if (variable == nullptr) return kept;
  const std::string_view text(variable);
  std::size_t count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  ::unsetenv(kListenersVariable);
  for (std::size_t i = 0; i < count && i < kMostServices; ++i) {
    const int fd = kFirstListener + static_cast<int>(i);
    if (!address_of(fd)) continue;
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    kept.keep(UniqueFd(fd));
  }
  return kept;
}

void KeptListeners::keep(UniqueFd socket) {
  auto address = address_of(socket.get());
  if (address) sockets_[*std::move(address)] = std::move(socket);
}

UniqueFd KeptListeners::take(const std::string& address) {
  const auto found = sockets_.find(address);
  if (found == sockets_.end()) return {};
  UniqueFd socket = std::move(found->second);
  sockets_.erase(found);
  return socket;
}

std::vector<int> KeptListeners::descriptors() const {
  std::vector<int> all;
  for (const auto& [address, socket] : sockets_) all.push_back(socket.get());
  return all;
}

}  // namespace understudy::gateway

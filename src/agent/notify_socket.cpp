#include "agent/notify_socket.hpp"

#include "base/kernel_files.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace understudy::agent {

bool says_ready(std::string_view datagram) {
  while (!datagram.empty()) {
    const std::string_view line = datagram.substr(0, datagram.find('\n'));
    datagram.remove_prefix(std::min(line.size() + 1, datagram.size()));
    if (line == "READY=1") return true;
  }
  return false;
}

Result<std::unique_ptr<NotifySocket>> NotifySocket::create(Loop& loop, std::string path, const User& user,
                                                           std::function<void()> on_ready) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!socket || path.size() >= sizeof address.sun_path) return failure(errno_text(path));
  std::memcpy(address.sun_path, path.data(), path.size());
  ::unlink(path.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), 0600) != 0) {
    return failure(errno_text(path));
  }
  if (::geteuid() == 0 && ::chown(path.c_str(), user.uid, user.gid) != 0) return failure(errno_text(path));
  std::unique_ptr<NotifySocket> notify(
      new NotifySocket(std::move(socket), std::move(path), std::move(on_ready)));
  auto* self = notify.get();
  self->watch_ = loop.watch(self->socket_.get(), EPOLLIN, [self](std::uint32_t) { self->read(); });
  return notify;
}

NotifySocket::~NotifySocket() {
  ::unlink(path_.c_str());
}

// A datagram is taken whole: what it says last counts as much as what it says first.
void NotifySocket::read() {
  const ssize_t waiting = ::recv(socket_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC);
  if (waiting < 0) return;
  std::string datagram(std::min(static_cast<std::size_t>(waiting), kMaxDatagramBytes), '\0');
  const ssize_t got = ::recv(socket_.get(), datagram.data(), datagram.size(), 0);
  if (got < 0 || !says_ready({datagram.data(), static_cast<std::size_t>(got)})) return;
  const auto on_ready = on_ready_;  // may destroy us
  on_ready();
}

}  // namespace understudy::agent

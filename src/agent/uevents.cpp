#include "agent/uevents.hpp"

#include "base/kernel_files.hpp"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace understudy::agent {

namespace {

constexpr int kReceiveBufferBytes = 1 << 20;  // room for the events of some hundred memory blocks at once
constexpr unsigned kKernelGroup = 1;

}  // namespace

std::string_view Uevent::name() const {
  return std::string_view(path).substr(path.rfind('/') + 1);
}

std::optional<Uevent> parse_uevent(std::string_view datagram) {
  // "add@/devices/...", then NAME=VALUE strings, each ended by a zero byte.
  Uevent event;
  while (!datagram.empty()) {
    const std::string_view field = datagram.substr(0, datagram.find('\0'));
    datagram.remove_prefix(std::min(field.size() + 1, datagram.size()));
    const std::size_t equals = field.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = field.substr(0, equals);
    const std::string_view value = field.substr(equals + 1);
    if (name == "ACTION") event.action = value;
    if (name == "DEVPATH") event.path = value;
    if (name == "SUBSYSTEM") event.subsystem = value;
  }
  if (event.action.empty() || event.path.empty()) return std::nullopt;
  return event;
}

Result<std::unique_ptr<Uevents>> Uevents::create() {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!socket) return failure(errno_text("uevent socket"));
  // Without the privilege to force it the default remains; missed events are noticed and looked up.
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes,
                     sizeof kReceiveBufferBytes);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failure(errno_text("uevent socket"));
  }
  return std::unique_ptr<Uevents>(new Uevents(std::move(socket)));
}

void Uevents::watch(Loop& loop, Handlers handlers) {
  handlers_ = std::move(handlers);
  watch_ = loop.watch(socket_.get(), EPOLLIN, [this](std::uint32_t) { read(); });
}

void Uevents::read() {
  char buffer[4096];
  for (;;) {
    sockaddr_nl from{};
    socklen_t length = sizeof from;
    const ssize_t got =
        ::recvfrom(socket_.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if (errno == ENOBUFS && handlers_.lost) handlers_.lost();
      return;
    }
    if (from.nl_pid != 0) continue;  // not from the kernel
    const auto event = parse_uevent({buffer, static_cast<std::size_t>(got)});
    if (event && handlers_.event) handlers_.event(*event);
  }
}

bool Uevents::wait(const std::function<bool()>& condition, Duration limit) {
  const Time end = Loop::now() + limit;
  while (!condition()) {
    const Duration left = end - Loop::now();
    if (left <= Duration::zero()) return false;
    pollfd poller{socket_.get(), POLLIN, 0};
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    if (::poll(&poller, 1, static_cast<int>(ms)) > 0) read();
  }
  return true;
}

}  // namespace understudy::agent

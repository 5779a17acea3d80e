#include "base/process_network.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace understudy {

namespace {

UniqueFd open_network(const char* path) {
  return UniqueFd(::open(path, O_RDONLY | O_CLOEXEC));
}

bool same_network(int one, int other) {
  struct stat a {
  }, b{};
  return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

Result<ProcessNetwork> ProcessNetwork::of(pid_t pid) {
  ProcessNetwork network;
  UniqueFd its = open_network(("/proc/" + std::to_string(pid) + "/ns/net").c_str());
  if (!its && (errno == EACCES || errno == EPERM)) return network;
  UniqueFd ours = its ? open_network("/proc/thread-self/ns/net") : UniqueFd();
  if (!its || !ours)
    return failure("the network of process " + std::to_string(pid) + ": " + std::strerror(errno));
  if (same_network(its.get(), ours.get())) return network;
  network.other_ = std::move(its);
  network.ours_ = std::move(ours);
  return network;
}

Result<void> ProcessNetwork::within(const std::function<void()>& act) const {
  if (is_ours()) {
    act();
    return {};
  }
  if (::setns(other_.get(), CLONE_NEWNET) != 0)
    return failure(std::string("the network of a guest's QEMU cannot be entered: ") + std::strerror(errno));
  act();
  if (::setns(ours_.get(), CLONE_NEWNET) != 0) {
    // What this thread did next would be done in a guest's network.
    std::fprintf(stderr, "cannot come back from the network of a guest's QEMU: %s\n", std::strerror(errno));
    std::abort();
  }
  return {};
}

Result<UniqueFd> ProcessNetwork::tcp_socket(int family) const {
  UniqueFd made;
  int error = 0;
  const auto entered = within([&] {
    made = UniqueFd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    error = errno;
  });
  if (!entered) return tl::unexpected(entered.error());
  if (!made) return failure(std::string("no socket can be made: ") + std::strerror(error));
  return made;
}

bool raise_loopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return false;
  ifreq loopback{};
  std::memcpy(loopback.ifr_name, "lo", sizeof "lo");
  loopback.ifr_flags = IFF_UP;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &loopback) == 0;
}

}  // namespace understudy

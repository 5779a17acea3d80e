#include "agent/network.hpp"

#include "base/kernel_files.hpp"
#include "base/unique_fd.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace understudy::agent {

namespace {

void set_address(sockaddr& where, const char* address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &in.sin_addr);
  std::memcpy(&where, &in, sizeof in);
}

ifreq request_for(const char* interface) {
  ifreq request{};
  std::strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  return request;
}

Result<void> configure(int socket, const char* interface, const char* address, const char* mask) {
  ifreq request = request_for(interface);
  set_address(request.ifr_addr, address);
  if (::ioctl(socket, SIOCSIFADDR, &request) != 0)
    return failure(errno_text(std::string(interface) + ", address"));
  request = request_for(interface);
  set_address(request.ifr_netmask, mask);
  if (::ioctl(socket, SIOCSIFNETMASK, &request) != 0)
    return failure(errno_text(std::string(interface) + ", netmask"));
  request = request_for(interface);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) != 0)
    return failure(errno_text(std::string(interface) + ", flags"));
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  if (::ioctl(socket, SIOCSIFFLAGS, &request) != 0)
    return failure(errno_text(std::string(interface) + ", up"));
  return {};
}

}  // namespace

Result<void> bring_up_loopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return failure(errno_text("lo, socket"));
  return configure(socket.get(), "lo", "127.0.0.1", "255.0.0.0");
}

Result<void> bring_up_ethernet() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return failure(errno_text("eth0, socket"));
  if (auto done = configure(socket.get(), "eth0", "10.0.2.15", "255.255.255.0"); !done) return done;
  rtentry route{};
  set_address(route.rt_dst, "0.0.0.0");
  set_address(route.rt_genmask, "0.0.0.0");
  set_address(route.rt_gateway, "10.0.2.2");
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  if (::ioctl(socket.get(), SIOCADDRT, &route) != 0 && errno != EEXIST) {
    return failure(errno_text("eth0, route to 10.0.2.2"));
  }
  return {};
}

}  // namespace understudy::agent

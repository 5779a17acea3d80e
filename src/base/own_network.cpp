#include "base/own_network.hpp"

#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>

namespace understudy {

namespace {

bool write_to(const char* path, std::string_view text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// "1000 1000 1": that number in here is the same number outside, and there is no other.
bool map_alone(const char* path, unsigned id) {
  constexpr std::size_t kDigits = std::numeric_limits<unsigned>::digits10 + 1;
  std::array<char, kDigits> digits{};
  const char* const digits_end = std::to_chars(digits.data(), digits.data() + digits.size(), id).ptr;
  std::array<char, 2 * kDigits + 3> text{};
  char* end = std::copy<const char*>(digits.data(), digits_end, text.data());
  *end++ = ' ';
  end = std::copy<const char*>(digits.data(), digits_end, end);
  *end++ = ' ';
  *end++ = '1';
  return write_to(path, {text.data(), static_cast<std::size_t>(end - text.data())});
}

bool raise_loopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return false;
  ifreq loopback{};
  std::memcpy(loopback.ifr_name, "lo", sizeof "lo");
  loopback.ifr_flags = IFF_UP;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &loopback) == 0;
}

}  // namespace

bool take_own_network() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (uid == 0) return ::unshare(CLONE_NEWNET) == 0 && raise_loopback();
  // Without "deny" the kernel lets nobody but root say which groups there are.
  return ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_to("/proc/self/setgroups", "deny") &&
         map_alone("/proc/self/uid_map", uid) && map_alone("/proc/self/gid_map", gid) && raise_loopback();
}

}  // namespace understudy

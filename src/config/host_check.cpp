#include "base/unique_fd.hpp"
#include "config/config.hpp"
#include "config/guest_users.hpp"
#include "config/report.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

// Whether this host can carry a configuration that is right in itself. Each finding is a snapshot: it can be
// wrong a moment later, and then the daemon's own attempt fails and says so.
namespace understudy::config {

namespace {

constexpr const char* kQemu = "qemu-system-x86_64";
constexpr const char* kSharedMemory = "/dev/shm";

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string file = std::string(rest.substr(0, colon)) + "/" + program;
    if (::access(file.c_str(), X_OK) == 0) return true;
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  return false;
}

void check_programs(const Config& config, Report& report) {
  if (!in_path(kQemu)) {
    report.add(config.host.accelerator_at,
               fmt::format("{} is not in PATH; install it with `apt install qemu-system-x86`", kQemu));
  }
  if (config.host.accelerator == Accelerator::kvm && ::access("/dev/kvm", R_OK | W_OK) != 0) {
    report.add(
        config.host.accelerator_at,
        fmt::format(
            "accelerator = \"kvm\", but /dev/kvm cannot be opened ({}); load the kvm module or join the "
            "group kvm, or write accelerator = \"auto\"",
            std::strerror(errno)));
  }
}

constexpr const char* kOptOut = "write run_as = \"daemon\" in [qemu]";

// Numbers that QEMU is to run as must be nobody's, and this root must be able to become them: in a container
// it may be root over a few numbers only.
void check_uids(const Config& config, const GuestUids& uids, Report& report) {
  const Where at = config.qemu.first_uid_at;
  std::ifstream map("/proc/self/uid_map");
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  bool mapped = !map;
  while (map >> inside >> outside >> count) mapped |= inside <= uids.first && uids.last() < inside + count;
  if (!mapped) {
    report.add(at,
               fmt::format("the guests' QEMUs are to run as the uids {} to {}, but this container has not "
                           "all of them (/proc/self/uid_map); set first_uid = 60578 in [qemu], or {}",
                           uids.first, uids.last(), kOptOut));
  }
  for (std::uint32_t uid = uids.first; uid <= uids.last(); ++uid) {
    const passwd* user = ::getpwuid(uid);
    const group* group = user == nullptr ? ::getgrgid(uid) : nullptr;
    if (user == nullptr && group == nullptr) continue;
    report.add(at,
               fmt::format("the guests' QEMUs are to run as the uids and gids {} to {}, but {} is {} {} of "
                           "this host; choose another first_uid in [qemu]",
                           uids.first, uids.last(), uid, user != nullptr ? "the user" : "the group",
                           in_quotes(user != nullptr ? user->pw_name : group->gr_name)));
    return;
  }
}

// QEMU opens them again as its own user. The directories above do not matter: it is given descriptors. The
// disk is used through its descriptor alone.
void check_readable(const Config& config, Report& report) {
  std::vector<std::filesystem::path> said;
  const auto check = [&](const char* key, const std::filesystem::path& path) {
    struct stat info {};
    const bool readable = ::stat(path.c_str(), &info) != 0 || (info.st_mode & S_IROTH) != 0;
    if (readable || std::find(said.begin(), said.end(), path) != said.end()) return;
    said.push_back(path);
    report.add(
        config.qemu.run_as_at,
        fmt::format("the {} {} cannot be read by the guests' QEMUs, which have users of their own (its "
                    "mode is {:04o}); `chmod o+r {}`, or {}",
                    key, path.string(), info.st_mode & 07777, path.string(), kOptOut));
  };
  for (const Guest& guest : config.guests) {
    check("kernel", guest.image.kernel);
    check("initramfs", guest.image.initramfs);
  }
}

std::optional<Bytes> available_memory() {
  std::ifstream in("/proc/meminfo");
  std::string line;
  while (std::getline(in, line)) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kib) == 1) return Bytes{kib} << 10;
  }
  return std::nullopt;
}

void check_memory_of_host(const Config& config, Report& report) {
  Bytes needed = config.pool.memory_bytes;
  if (config.pool.backing == Backing::hugetlbfs) needed -= config.area_count() * config.pool.area_bytes;
  const auto available = available_memory();
  if (!available || *available >= needed) return;
  report.add(
      config.pool.memory_at,
      fmt::format(
          "{} are needed, but this host has {} available (MemAvailable in /proc/meminfo); end something "
          "that uses memory, or lower memory",
          format_size(needed), format_size(*available >> 20 << 20)));
}

// The directory that the areas' files will be in, looked at before anything is made in it.
void check_directory(const Config& config, HostCheck what, Report& report) {
  const bool huge = config.pool.backing == Backing::hugetlbfs;
  std::filesystem::path directory = config.pool.directory;
  if (directory.empty()) {
    if (huge || ::geteuid() == 0) return;  // root mounts a tmpfs of its own
    directory = kSharedMemory;
  }
  const Where at = config.pool.directory_at;
  struct statfs info {};
  if (::statfs(directory.c_str(), &info) != 0) {
    report.add(
        at, fmt::format("the directory {} cannot be used ({}); {}", directory.string(), std::strerror(errno),
                        huge ? fmt::format("mount it: mkdir -p {0} && mount -t hugetlbfs none {0}",
                                           directory.string())
                             : "create it, or leave the key out"));
    return;
  }
  const auto wanted = huge ? HUGETLBFS_MAGIC : TMPFS_MAGIC;
  if (static_cast<unsigned long>(info.f_type) != static_cast<unsigned long>(wanted)) {
    report.add(
        at, fmt::format("the directory {} is not on {}; {}", directory.string(), huge ? "hugetlbfs" : "tmpfs",
                        huge ? fmt::format("mount it: mount -t hugetlbfs none {}", directory.string())
                             : "choose one that is, such as /dev/shm, or leave the key out"));
    return;
  }
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    report.add(
        at, fmt::format("the directory {} cannot be written to ({}); correct its permissions or run as root",
                        directory.string(), std::strerror(errno)));
    return;
  }
  const Bytes areas = config.area_count() * config.pool.area_bytes;
  const Bytes free = static_cast<Bytes>(info.f_bavail) * static_cast<Bytes>(info.f_bsize);
  if (!what.memory || info.f_blocks == 0 || free >= areas) return;  // no blocks: a tmpfs without a limit
  report.add(at, fmt::format("the areas need {}, but {} has {} free; {}", format_size(areas),
                             directory.string(), format_size(free >> 20 << 20),
                             huge ? "reserve more huge pages (/proc/sys/vm/nr_hugepages), or lower memory"
                                  : "remount it larger (mount -o remount,size=...), or lower memory"));
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

SocketAddress socket_address(const Address& address) {
  SocketAddress to;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&to.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&to.storage);
  if (::inet_pton(AF_INET, address.listen_host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.listen_port);
    to.size = sizeof(*v4);
  } else if (::inet_pton(AF_INET6, address.listen_host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.listen_port);
    to.size = sizeof(*v6);
  }
  return to;
}

void check_address(const Application& application, Report& report) {
  const Address& address = *application.address;
  const SocketAddress to = socket_address(address);
  const UniqueFd socket(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.size) != 0) {
    const int code = errno;
    std::string advice;
    if (code == EADDRINUSE) {
      advice =
          fmt::format("is in use; see by whom (ss -ltnp 'sport = :{}') and end it, or choose another port",
                      address.listen_port);
    } else if (code == EADDRNOTAVAIL) {
      advice = "is no address of this host; see `ip address`, or listen on 0.0.0.0";
    } else if (code == EACCES) {
      advice = "may not be used without root; choose a port from 1024, or run as root";
    } else {
      advice = fmt::format("cannot be listened on ({}); choose another", std::strerror(code));
    }
    report.add(address.listen_at, fmt::format("application {}: {} {}", in_quotes(application.name),
                                              address.listen_text(), advice));
  }
}

}  // namespace

Errors check_host(const Config& config, HostCheck what) {
  Report report;
  check_programs(config, report);
  if (const auto uids = guest_uids(config, what.run_dir)) {
    check_uids(config, *uids, report);
    check_readable(config, report);
  }
  if (what.memory) check_memory_of_host(config, report);
  check_directory(config, what, report);
  for (const Application& application : config.applications) {
    if (what.addresses && application.address) check_address(application, report);
  }
  return report.take(config.file.string());
}

}  // namespace understudy::config

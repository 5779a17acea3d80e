#include "base/unique_fd.hpp"
#include "config/config.hpp"
#include "config/guest_users.hpp"
#include "config/image_look.hpp"
#include "config/listen_address.hpp"
#include "config/report.hpp"
#include "config/suggest.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <linux/magic.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
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
constexpr std::size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;

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
  if (huge && info.f_bsize > 0 && config.pool.area_bytes % static_cast<Bytes>(info.f_bsize) != 0) {
    report.add(
        at, fmt::format("the directory {} has huge pages of {}, and area_size {} is not a multiple of it; "
                        "write area_size = \"{}\", or mount huge pages of another size",
                        directory.string(), format_size(static_cast<Bytes>(info.f_bsize)),
                        format_size(config.pool.area_bytes), format_size(static_cast<Bytes>(info.f_bsize))));
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

void check_address(const Application& application, bool runs, Report& report) {
  const Address& address = *application.address;
  const auto bound = bound_socket({address.listen_host, address.listen_port});
  if (bound) return;
  std::string advice;
  if (bound.error() == EADDRINUSE) {
    if (runs) return;  // by our own gateway, most likely
    advice = fmt::format("is in use; see by whom (ss -ltnp 'sport = :{}') and end it, or choose another port",
                         address.listen_port);
  } else if (bound.error() == EADDRNOTAVAIL) {
    advice = "is no address of this host; see `ip address`, or listen on 0.0.0.0";
  } else if (bound.error() == EACCES) {
    advice = "may not be used without root; choose a port from 1024, or run as root";
  } else {
    advice = fmt::format("cannot be listened on ({}); choose another", std::strerror(bound.error()));
  }
  report.add(address.listen_at, fmt::format("application {}: {} {}", in_quotes(application.name),
                                            address.listen_text(), advice));
}

// Guests and applications are in directories of their names, with a socket in each.
void check_run_dir(const Config& config, const std::filesystem::path& run_dir, Report& report) {
  if (run_dir.empty()) return;
  for (const Guest& guest : config.guests) {
    const std::string longest = (run_dir / "guests" / guest.name / "agent.sock").string();
    if (longest.size() <= kLongestSocketPath) continue;
    report.add({1, 1},
               fmt::format("the run directory {} is too long: the path of guest {}'s socket would have {} "
                           "bytes, the kernel allows {}; choose a shorter --run-dir, or shorten the name",
                           run_dir.string(), in_quotes(guest.name), longest.size(), kLongestSocketPath));
    return;
  }
}

bool check_program(const Application& application, std::string_view key,
                   const std::vector<std::string>& command, const Guest& guest, const GuestTree& tree,
                   Report& report) {
  if (command.empty()) return true;
  const std::string& program = command.front();
  const auto found = tree.program(program);
  const std::string subject = fmt::format("application {}: the program {} of {}", in_quotes(application.name),
                                          in_quotes(program), key);
  if (found == GuestTree::Found::not_executable)
    report.add(application.start_at,
               subject + " is in the image, but is not executable; chmod +x what you add to it");
  if (found != GuestTree::Found::no) return found != GuestTree::Found::not_executable;
  const std::vector<std::string> siblings = tree.siblings(program);
  std::string advice = did_you_mean(program, {siblings.begin(), siblings.end()});
  if (advice.empty())
    advice = fmt::format(
        "; see what is there with `unsquashfs -l {}`, or add yours with `guest/build-image --add DIR`",
        guest.image.disk.string());
  report.add(application.start_at, subject + " is not in the image of guest " + guest.name + advice);
  return false;
}

// Whether all of its programs are there, or nobody can tell.
bool check_commands(const Application& application, const Guest& guest, const GuestTree& tree,
                    Report& report) {
  bool good = check_program(application, "start", application.start, guest, tree, report);
  good &= check_program(application, "prepare", application.prepare, guest, tree, report);
  good &= check_program(application, "health", application.health.command, guest, tree, report);
  return good;
}

// `not_seen` is told what could not be looked into.
void check_images_of_guests(const Config& config, std::vector<std::string>& not_seen, Report& report) {
  std::deque<std::pair<Image, GuestTree>> trees;  // most guests share one
  const auto tree_of = [&](const Image& image) -> const GuestTree& {
    const auto known = std::find_if(trees.begin(), trees.end(), [&](const auto& each) {
      return each.first.initramfs == image.initramfs && each.first.disk == image.disk;
    });
    if (known != trees.end()) return known->second;
    const GuestTree& tree = trees.emplace_back(image, GuestTree::of(image)).second;
    not_seen.insert(not_seen.end(), tree.not_looked_into().begin(), tree.not_looked_into().end());
    return tree;
  };
  for (const Application& application : config.applications) {
    for (const core::GuestId id : application.guests) {
      const Guest& guest = config.guests.at(id.value);
      const GuestTree& tree = tree_of(guest.image);
      if (check_commands(application, guest, tree, report)) continue;
      break;  // the other guests' images lack it, too, or are told of when this one is right
    }
  }
}

}  // namespace

Errors check_host(const Config& config, HostCheck what, std::vector<std::string>* not_seen) {
  Report report;
  check_programs(config, report);
  check_run_dir(config, what.run_dir, report);
  if (const auto uids = guest_uids(config, what.run_dir)) {
    check_uids(config, *uids, report);
    check_readable(config, report);
  }
  what.memory &= !what.runs;
  if (what.memory) check_memory_of_host(config, report);
  check_directory(config, what, report);
  for (const Application& application : config.applications) {
    if (what.addresses && application.address) check_address(application, what.runs, report);
  }
  std::vector<std::string> unseen;
  check_images_of_guests(config, unseen, report);
  if (what.runs)
    unseen.push_back("understudyd runs here: memory and addresses that are in use were taken for its own");
  if (not_seen != nullptr) *not_seen = std::move(unseen);
  return report.take(config.file.string());
}

}  // namespace understudy::config

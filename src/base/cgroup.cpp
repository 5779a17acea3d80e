#include "base/cgroup.hpp"

#include "base/kernel_files.hpp"

#include <linux/sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>

namespace understudy {

namespace {

constexpr const char* kOurPart = "understudy";
constexpr const char* kControllers = "+memory +pids";
// What is forked between a look at the processes and the order is found by the next look.
constexpr int kLooks = 16;
constexpr std::size_t kMostMountBytes = 1 << 20;  // containers' hosts have thousands of mounts

bool is_delegated(const std::string& directory) {
  // systemd 251 and later set both; only root reads the first.
  for (const char* const mark : {"trusted.delegate", "user.delegate"}) {
    std::array<char, 2> value{};
    if (::getxattr(directory.c_str(), mark, value.data(), value.size()) == 1 && value[0] == '1') return true;
  }
  return false;
}

// What is above the cgroup of a unit belongs to a manager: an ordinary user's whole session was delegated,
// too, to the user's systemd.
bool is_unit(std::string_view directory) {
  return directory.ends_with(".service") || directory.ends_with(".scope") || directory.ends_with(".slice");
}

// What stands before `end`, which is taken off with it; all of it, when there is none.
std::string_view take(std::string_view& rest, char end) {
  const std::string_view taken = rest.substr(0, rest.find(end));
  rest.remove_prefix(std::min(taken.size() + 1, rest.size()));
  return taken;
}

bool has_word(std::string_view text, std::string_view word) {
  std::string_view rest = trim(text);
  while (!rest.empty()) {
    if (take(rest, ' ') == word) return true;
  }
  return false;
}

// Where the whole hierarchy is mounted, as far as this process sees it.
std::optional<std::string> find_mount() {
  const auto mounts = read_file("/proc/self/mountinfo", kMostMountBytes);
  std::string_view rest = mounts ? *mounts : std::string_view();
  while (!rest.empty()) {
    std::string_view line = take(rest, '\n');
    if (line.find(" - cgroup2 ") == std::string_view::npos) continue;
    for (int field = 0; field < 3; ++field) (void)take(line, ' ');
    const std::string_view root = take(line, ' ');
    if (root == "/") return std::string(take(line, ' '));
  }
  return std::nullopt;
}

}  // namespace

pid_t fork_into_cgroup(int directory, bool& born_inside, unsigned long namespaces) {
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP | namespaces;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(directory);
  const pid_t pid =
      directory >= 0 ? static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments)) : pid_t{-1};
  born_inside = pid >= 0;
  if (born_inside) return pid;
  return static_cast<pid_t>(::syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0));
}

std::optional<std::string> cgroup_of(pid_t process) {
  const auto mount = find_mount();
  if (!mount) return std::nullopt;
  const auto groups = read_file("/proc/" + std::to_string(process) + "/cgroup");
  std::string_view rest = groups ? *groups : std::string_view();
  while (!rest.empty()) {
    const std::string_view line = take(rest, '\n');
    // Outside of what this process sees, or removed: neither can be named.
    const bool named =
        line.starts_with("0::/") && !line.starts_with("0::/..") && !line.ends_with(" (deleted)");
    if (named) return line.size() == 4 ? *mount : *mount + std::string(line.substr(3));
  }
  return std::nullopt;
}

Result<std::string> delegated_cgroup() {
  const auto own = cgroup_of(::getpid());
  if (!own) return failure("this host has no control groups of version 2 here");
  return delegated_cgroup_above(*own);
}

Result<std::string> delegated_cgroup_above(const std::string& own) {
  std::string directory = own;
  while (!is_delegated(directory)) {
    const std::size_t slash = directory.rfind('/');
    if (is_unit(directory) || slash == std::string::npos || slash == 0)
      return failure("no control group was delegated to it (systemd: Delegate=yes)");
    directory.resize(slash);
  }
  for (const char* const name : {"", "/cgroup.procs", "/cgroup.subtree_control"}) {
    if (::access((directory + name).c_str(), W_OK) != 0)
      return failure("the control group that was delegated cannot be written to: " +
                     errno_text(directory + name));
  }
  const std::string has = read_file(directory + "/cgroup.controllers").value_or("");
  if (!has_word(has, "memory") || !has_word(has, "pids"))
    return failure("the control group " + directory +
                   " was delegated without the controllers memory and pids");
  return directory;
}

Result<void> divide_cgroup(const std::string& delegated) {
  const std::string part = delegated + "/" + kOurPart;
  if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return failure(errno_text(part));
  Result<void> divided;
  for (int look = 0; look < kLooks; ++look) {
    const std::string inside = read_file(delegated + "/cgroup.procs").value_or("");
    std::string_view rest = inside;
    while (!rest.empty()) (void)write_file(part + "/cgroup.procs", take(rest, '\n'));
    divided = write_file(delegated + "/cgroup.subtree_control", kControllers);
    if (divided || errno != EBUSY) break;
  }
  return divided;
}

std::string cgroup_words(const Result<std::string>& delegated) {
  if (delegated) return "each QEMU has a control group of its own in " + *delegated;
  return "QEMUs have no control groups of their own: " + delegated.error().message;
}

}  // namespace understudy

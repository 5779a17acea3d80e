#include "agent/isolation.hpp"

#include "agent/network.hpp"
#include "agent/os.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <initializer_list>
#include <utility>

namespace understudy::agent {

namespace {

constexpr int kNamespacesOfRehearsal = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC;

bool set_read_only(const char* path, bool read_only, unsigned int flags) {
  mount_attr change{};
  (read_only ? change.attr_set : change.attr_clr) = MOUNT_ATTR_RDONLY;
  return ::syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &change, sizeof change) == 0;
}

// An empty directory over this one, with the owner and mode that it had.
bool cover(const std::string& directory, const struct stat& was) {
  if (!S_ISDIR(was.st_mode)) {
    errno = ENOTDIR;
    return false;
  }
  // Below one that has been covered it is gone: made anew, it is empty too.
  for (std::size_t end = directory.find('/', 1); !exists(directory); end = directory.find('/', end + 1)) {
    if (::mkdir(directory.substr(0, end).c_str(), 0755) != 0 && errno != EEXIST) return false;
    if (end == std::string::npos) break;
  }
  char options[64];
  std::snprintf(options, sizeof options, "mode=%o,uid=%u,gid=%u", was.st_mode & 07777U, was.st_uid,
                was.st_gid);
  return ::mount("tmpfs", directory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

UniqueFd namespace_of(const std::string& process, const char* kind) {
  return UniqueFd(::open(("/proc/" + process + "/ns/" + kind).c_str(), O_RDONLY | O_CLOEXEC));
}

}  // namespace

std::string isolate(const std::vector<std::string>& scratch) {
  if (::unshare(kNamespacesOfRehearsal) != 0) return "isolating the rehearsal";
  if (auto up = bring_up_loopback(); !up) return "the rehearsal's own loopback";
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "making mounts private";
  if (!set_read_only("/", true, AT_RECURSIVE)) return "making the file systems read-only";
  (void)set_read_only("/proc", false, 0);  // the kernel's, and no data: a process may set up itself
  // All are looked at before the first is covered.
  std::vector<std::pair<std::string, struct stat>> empty;
  for (const char* const usual : {"/tmp", "/var/tmp", "/dev/shm"}) {
    struct stat was {};
    if (::stat(usual, &was) == 0) empty.emplace_back(usual, was);
  }
  for (const std::string& directory : scratch) {
    struct stat was {};
    if (::stat(directory.c_str(), &was) != 0) return "an empty " + directory + " (rehearsal_scratch)";
    empty.emplace_back(directory, was);
  }
  for (const auto& [directory, was] : empty) {
    if (!cover(directory, was)) return "an empty " + directory;
  }
  return "";
}

std::string join_namespaces(pid_t of) {
  const std::string process = std::to_string(of);
  // All are opened first: in its mounts, /proc may look different.
  const UniqueFd net = namespace_of(process, "net");
  const UniqueFd ipc = namespace_of(process, "ipc");
  const UniqueFd mounts = namespace_of(process, "mnt");
  const UniqueFd root(::open(("/proc/" + process + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!net || !ipc || !mounts || !root || ::setns(net.get(), CLONE_NEWNET) != 0 ||
      ::setns(ipc.get(), CLONE_NEWIPC) != 0 || ::setns(mounts.get(), CLONE_NEWNS) != 0) {
    return "joining its namespaces";
  }
  // Joining mounts leads to their own root, which is not the agent's where that is in a chroot.
  if (::fchdir(root.get()) != 0 || ::chroot(".") != 0) return "joining their root";
  return "";
}

// A socket stays in the network in which it was made. The agent has one thread, and nobody else to confuse.
Result<UniqueFd> socket_inside(pid_t of, int family, int type) {
  const UniqueFd home = namespace_of("self", "net");
  const UniqueFd inside = namespace_of(std::to_string(of), "net");
  if (!home || !inside || ::setns(inside.get(), CLONE_NEWNET) != 0)
    return failure(errno_text("joining the network of the rehearsal"));
  UniqueFd made(::socket(family, type, 0));
  const int code = errno;
  if (::setns(home.get(), CLONE_NEWNET) != 0) say(errno_text("leaving the network of the rehearsal"));
  if (!made) return failure(errno_text("socket", code));
  return made;
}

}  // namespace understudy::agent

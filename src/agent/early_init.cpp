#include "agent/early_init.hpp"

#include "agent/inheritance.hpp"
#include "agent/network.hpp"
#include "agent/os.hpp"
#include "agent/uevents.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace understudy::agent {

namespace {

constexpr Duration kDeviceLimit = std::chrono::seconds(5);
constexpr const char* kModuleList = "/etc/modules.load";
constexpr const char* kApplicationDisk = "/dev/vda";
constexpr const char* kApplications = "/apps";

void mount_one(const char* source, const char* where, const char* type, unsigned long flags,
               const char* options) {
  (void)::mkdir(where, 0755);
  // EBUSY: it is there already (the kernel mounts devtmpfs itself when it is configured to).
  if (::mount(source, where, type, flags, options) != 0 && errno != EBUSY) {
    say(errno_text("mounting " + std::string(type) + " on " + where));
  }
}

void mount_kernel_file_systems() {
  constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  mount_one("proc", "/proc", "proc", kPlain, "");
  mount_one("sysfs", "/sys", "sysfs", kPlain, "");
  mount_one("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "");
  // An application that is root neither lifts its own limits nor leaves its cgroup: it has a namespace of its
  // own.
  mount_one("cgroup2", "/sys/fs/cgroup", "cgroup2", kPlain, "nsdelegate");
  mount_one("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
  mount_one("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  mount_one("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
}

// The kernel opens /dev/console for us only if the image holds that node; take_known_state() ran before there
// was a /dev. What we say there is a service to whoever looks for a fault: a console that somebody in the
// guest stopped or floods must not hold us up.
void have_console() {
  const UniqueFd console(::open("/dev/console", O_RDWR | O_CLOEXEC));
  for (int standard = STDIN_FILENO; console && standard <= STDERR_FILENO; ++standard) {
    if (::fcntl(standard, F_GETFD) < 0) (void)::dup2(console.get(), standard);
  }
  const int flags = ::fcntl(STDERR_FILENO, F_GETFL);
  if (flags >= 0) (void)::fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
  have_standard_descriptors();
}

// What programs and shells expect in /dev besides devices.
void make_usual_names() {
  mount_one("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666");
  constexpr std::pair<const char*, const char*> kLinks[] = {{"/proc/self/fd", "/dev/fd"},
                                                            {"/proc/self/fd/0", "/dev/stdin"},
                                                            {"/proc/self/fd/1", "/dev/stdout"},
                                                            {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& [target, name] : kLinks) {
    if (::symlink(target, name) != 0 && errno != EEXIST) say(errno_text(name));
  }
  // Where the kernel has made a node of its own it leads to the same terminals.
  if (::symlink("pts/ptmx", "/dev/ptmx") != 0 && errno != EEXIST) say(errno_text("/dev/ptmx"));
}

void load_modules() {
  const auto list = read_file(kModuleList);
  if (!list) return;  // a kernel with everything built in
  std::string_view rest = *list;
  while (!rest.empty()) {
    const std::string path(trim(rest.substr(0, rest.find('\n'))));
    rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
    if (path.empty()) continue;
    const UniqueFd module(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!module || (::syscall(SYS_finit_module, module.get(), "", 0) != 0 && errno != EEXIST)) {
      say(errno_text("loading " + path));
    }
  }
}

void mount_applications(Uevents* uevents) {
  const auto there = [] { return exists(kApplicationDisk); };
  if (!there() && (uevents == nullptr || !uevents->wait(there, kDeviceLimit))) {
    return say(std::string("there is no ") + kApplicationDisk + ", so no application can be started");
  }
  (void)::mkdir(kApplications, 0755);
  if (::mount(kApplicationDisk, kApplications, "squashfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "") != 0) {
    say(errno_text(std::string("mounting ") + kApplicationDisk + " on " + kApplications));
  }
}

void bring_up_network(Uevents* uevents) {
  if (auto up = bring_up_loopback(); !up) say(up.error().message);
  const auto there = [] { return exists("/sys/class/net/eth0"); };
  if (!there() && (uevents == nullptr || !uevents->wait(there, kDeviceLimit))) {
    return say("there is no eth0, so no application can be reached");
  }
  if (auto up = bring_up_ethernet(); !up) say(up.error().message);
}

}  // namespace

void early_init() {
  mount_kernel_file_systems();
  have_console();
  make_usual_names();
  // Listens before the drivers are loaded, so that no device is missed.
  auto uevents = Uevents::create();
  if (!uevents) say(uevents.error().message);
  load_modules();
  mount_applications(uevents ? uevents->get() : nullptr);
  bring_up_network(uevents ? uevents->get() : nullptr);
}

}  // namespace understudy::agent

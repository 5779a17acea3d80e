#include "agent/early_init.hpp"

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
  mount_one("cgroup2", "/sys/fs/cgroup", "cgroup2", kPlain, "");
  mount_one("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
  mount_one("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  mount_one("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
}

// The kernel opens /dev/console for us only if the image holds that node.
void have_standard_descriptors() {
  if (::fcntl(STDERR_FILENO, F_GETFD) >= 0) return;
  int fd = ::open("/dev/console", O_RDWR);
  if (fd < 0) fd = ::open("/dev/null", O_RDWR);
  if (fd < 0) return;
  for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; ++standard) (void)::dup2(fd, standard);
  if (fd > STDERR_FILENO) ::close(fd);
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
  have_standard_descriptors();
  // Listens before the drivers are loaded, so that no device is missed.
  auto uevents = Uevents::create();
  if (!uevents) say(uevents.error().message);
  load_modules();
  mount_applications(uevents ? uevents->get() : nullptr);
  bring_up_network(uevents ? uevents->get() : nullptr);
}

}  // namespace understudy::agent

// The first and only program of a guest whose kernel has the controllers of memory and of processes (the
// host's need not): it divides a delegated cgroup and starts programs by the code that starts QEMU, some of
// which take all they can get. tests/e2e/cgroups.py boots it and reads what it says on its console.
#include "base/cgroup.hpp"
#include "base/kernel_files.hpp"
#include "qemu/qemu_cgroup.hpp"
#include "qemu/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace understudy;
using qemu::QemuCgroup;

constexpr const char* kRunDir = "/run/understudy";
constexpr Bytes kLimit = 64_MiB;
constexpr Bytes kArea = 128_MiB;
constexpr int kAreaFd = qemu::kFirstPassedFd;

// ---- what is started ----

bool fill(void* memory, Bytes bytes) {
  if (memory == MAP_FAILED) return false;
  for (Bytes at = 0; at < bytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
  return true;
}

bool fill_mapping(int flags, int fd) {
  return fill(::mmap(nullptr, kArea, PROT_READ | PROT_WRITE, flags, fd, 0), kArea);
}

bool write_all(int fd) {
  const std::vector<char> part(1_MiB, 'x');
  for (Bytes done = 0; done < kArea; done += part.size()) {
    if (::write(fd, part.data(), part.size()) != static_cast<ssize_t>(part.size())) return false;
  }
  return true;
}

// How many processes it could make, itself included, until it was refused one more.
int count_processes() {
  for (int count = 1;; ++count) {
    const pid_t pid = ::fork();
    if (pid < 0) return count;
    if (pid == 0) {
      while (true) ::pause();
    }
  }
}

int act(const std::string& role) {
  if (role == "idle") ::pause();
  if (role == "memfd") return write_all(::memfd_create("greedy", 0)) ? 0 : 1;
  if (role == "anonymous") return fill_mapping(MAP_PRIVATE | MAP_ANONYMOUS, -1) ? 0 : 1;
  if (role == "shared") return fill_mapping(MAP_SHARED | MAP_ANONYMOUS, -1) ? 0 : 1;
  if (role == "area") return fill_mapping(MAP_SHARED, kAreaFd) ? 0 : 1;
  if (role == "processes") return count_processes() == static_cast<int>(qemu::kMostThreads) ? 0 : 1;
  return 2;
}

// ---- what starts it ----

std::string unit;  // the cgroup that was delegated to us

void say(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void expect(bool is_so, const std::string& what) {
  say((is_so ? "ok: " : "FAILED: ") + what);
}

// One program in a cgroup of its own, which may use kLimit.
class Started {
 public:
  explicit Started(const std::string& role, const UniqueFd& area = {}, Bytes more = 0, bool own_user = true)
      : cgroup_(QemuCgroup::make(unit, {kRunDir, role, ++runs}, kLimit)) {
    const auto pid = cgroup_ ? start(role, area, more, own_user) : tl::unexpected(cgroup_.error());
    pid_ = pid.value_or(0);
    if (!pid) say("FAILED: " + pid.error().message);
  }
  ~Started() { (void)end(); }
  Started(const Started&) = delete;
  Started& operator=(const Started&) = delete;

  [[nodiscard]] bool lives() const { return pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == 0; }
  [[nodiscard]] bool limit_ended_it() const { return cgroup_ && !cgroup_->ended_by_limit().empty(); }
  [[nodiscard]] const QemuCgroup& cgroup() const { return *cgroup_; }
  // Its wait status, when it ends by itself.
  int await() {
    int status = -1;
    while (pid_ > 0 && ::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }
  // Whether nothing is left of it.
  bool end() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    if (pid_ > 0) (void)await();
    if (!cgroup_) return false;
    cgroup_->remove();
    return !exists(cgroup_->directory());
  }

 private:
  Result<pid_t> start(const std::string& role, const UniqueFd& area, Bytes more, bool own_user) const {
    cgroup_->allow(more, 10 * kArea);
    qemu::SpawnSpec spec{{"/init", role}, "/areas/log-" + std::to_string(::geteuid()), {}};
    if (area) spec.fds = {area.get()};
    if (own_user && ::geteuid() == 0) spec.user = qemu::HostUser{61000, 61000, {}};
    spec.cgroup = cgroup_->directory_fd();
    spec.cgroup_processes = cgroup_->processes_fd();
    return qemu::spawn_process(spec);
  }

  static inline std::uint32_t runs = 0;
  Result<QemuCgroup> cgroup_;
  pid_t pid_ = 0;
};

bool killed(int status) {
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

bool well(int status) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

UniqueFd area(bool reserve) {
  UniqueFd file(::open("/areas/area-0000", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  ::unlink("/areas/area-0000");
  const bool made = ::ftruncate(file.get(), static_cast<off_t>(kArea)) == 0 &&
                    (!reserve || ::posix_fallocate(file.get(), 0, static_cast<off_t>(kArea)) == 0);
  if (!made) say("FAILED: an area could not be made");
  return file;
}

bool prepare_guest() {
  ::mkdir("/dev", 0755);
  (void)::mount("dev", "/dev", "devtmpfs", 0, nullptr);
  const int console = ::open("/dev/console", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) ::dup2(console, fd);
  for (const char* directory : {"/proc", "/sys", "/areas"}) ::mkdir(directory, 0755);
  return ::mount("proc", "/proc", "proc", 0, nullptr) == 0 &&
         ::mount("sys", "/sys", "sysfs", 0, nullptr) == 0 &&
         ::mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, nullptr) == 0 &&
         ::mount("areas", "/areas", "tmpfs", 0, nullptr) == 0 &&
         write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids").has_value();
}

// As systemd starts a service with Delegate=yes, whose command has started us.
void try_delegation() {
  const pid_t starter = ::fork();
  if (starter == 0) {
    while (true) ::pause();
  }
  for (const pid_t pid : {starter, ::getpid()})
    expect(write_file(unit + "/cgroup.procs", std::to_string(pid)).has_value(), "we are in a unit");
  expect(!delegated_cgroup(), "what was not delegated is not taken");
  ::setxattr(unit.c_str(), "user.delegate", "1", 1, 0);
  expect(delegated_cgroup().value_or("") == unit, "what was delegated is found");
  const auto divided = divide_cgroup(unit);
  expect(divided.has_value(), "it is divided" + (divided ? "" : ": " + divided.error().message));
  expect(divide_cgroup(unit).has_value(), "a later daemon may do it again");
  expect(delegated_cgroup().value_or("") == unit, "it is found from its part, too");
  for (const pid_t pid : {starter, ::getpid()})
    expect(cgroup_of(pid).value_or("") == unit + "/understudy", "we are in its part");
  ::kill(starter, SIGKILL);
  ::waitpid(starter, nullptr, 0);
}

void try_greed() {
  Started neighbour("idle");
  for (const char* kind : {"memfd", "anonymous", "shared"}) {
    Started greedy(kind);
    expect(killed(greedy.await()) && greedy.limit_ended_it(),
           std::string(kind) + " memory ends at the limit");
    say("   " + greedy.cgroup().ended_by_limit());
    expect(greedy.end(), "its cgroup is gone");
  }
  expect(neighbour.lives() && !neighbour.limit_ended_it(), "its neighbour lives");
}

// Who is charged for an area: docs/decisions/2026-11-26-a-cgroup-for-each-qemu.md.
void try_areas() {
  {
    Started holder("area", area(true));
    expect(well(holder.await()) && !holder.limit_ended_it(), "a reserved area costs its guest nothing");
  }
  {
    Started holder("area", area(false));
    expect(killed(holder.await()) && holder.limit_ended_it(), "one that is not reserved does");
  }
  const UniqueFd moving = area(false);
  Started first("area", moving, kArea);
  expect(well(first.await()) && !first.limit_ended_it(), "and is allowed when it is given");
  Started second("area", moving);
  expect(well(second.await()) && !second.limit_ended_it(), "its next guest is not charged for it");
  expect(first.end(), "its first guest's cgroup goes all the same");
  second.cgroup().allow(kArea, kLimit + 1_MiB);
  expect(trim(read_file(second.cgroup().directory() + "/memory.max").value_or("")) ==
             std::to_string(kLimit + 1_MiB),
         "more is allowed only up to a limit");
}

void try_processes() {
  Started many("processes", {}, 4 * kArea, false);
  expect(well(many.await()), "it has as many processes as it may have, and no more");
}

// As systemd gives a cgroup to a user.
bool make_unit(const char* directory, uid_t user) {
  unit = directory;
  bool made = ::mkdir(directory, 0755) == 0 && ::chown(directory, user, user) == 0;
  for (const char* const file : {"/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"})
    made = made && ::chown((unit + file).c_str(), user, user) == 0;
  return made && write_file(unit + "/cgroup.procs", std::to_string(::getpid())).has_value();
}

void try_as_ordinary_user() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    constexpr uid_t kUser = 1000;
    expect(make_unit("/sys/fs/cgroup/users.service", kUser) && ::setresgid(kUser, kUser, kUser) == 0 &&
               ::setresuid(kUser, kUser, kUser) == 0,
           "we are an ordinary user");
    try_delegation();
    try_greed();
    ::_exit(0);
  }
  ::waitpid(pid, nullptr, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (::getpid() != 1) return argc == 2 ? act(argv[1]) : 2;
  if (prepare_guest() && make_unit("/sys/fs/cgroup/test.service", 0)) {
    try_delegation();
    try_greed();
    try_areas();
    try_processes();
    try_as_ordinary_user();
    say("all tried");
  } else {
    std::perror("FAILED: the guest cannot be prepared");
  }
  ::reboot(RB_POWER_OFF);
  return 1;
}

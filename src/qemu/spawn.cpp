#include "qemu/spawn.hpp"

#include "base/cgroup.hpp"
#include "base/doing.hpp"
#include "base/inherited_state.hpp"
#include "base/own_network.hpp"
#include "base/signals_blocked.hpp"
#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

extern char** environ;

namespace understudy::qemu {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kWritable =
    "the file systems stay writable to this QEMU where its user may write: this root or this kernel cannot "
    "make them read-only for it\n";

constexpr std::string_view kDaemonsCgroup =
    "this QEMU has the daemon's control group, and so no limit of memory: the kernel let it not into its "
    "own\n";

enum class Step : int { descriptors, network, files, privileges, user, program };

const char* step_name(Step step) {
  switch (step) {
    case Step::descriptors: return "its descriptors";
    case Step::network: return "a network of its own";
    case Step::files: return "the size of its files";
    case Step::privileges: return "giving up privileges";
    case Step::user: return "becoming its user";
    case Step::program: return "the program";
  }
  return "?";
}

struct Failed {
  Step step;
  int error;
};

// All that the child needs, made before the fork.
struct Child {
  const char* program;
  char* const* argv;
  char* const* environment;
  int null;
  int log;
  const int* fds;  // all of them, and `report`, above where they are to be
  int fd_count;
  int report;  // closed by exec
  const HostUser* user;
  bool own_network;
  rlim_t largest_file;  // 0: any
  int cgroup;           // -1: the daemon's
  int cgroup_processes;
};

// ---- in the child: nothing but system calls, because the daemon has other threads ----

[[noreturn]] void give_up(const Child& child, Step step) {
  const Failed failed{step, errno};
  (void)!::write(child.report, &failed, sizeof failed);
  ::_exit(127);
}

bool arrange_descriptors(const Child& child) {
  if (::dup2(child.null, STDIN_FILENO) < 0 || ::dup2(child.log, STDOUT_FILENO) < 0 ||
      ::dup2(child.log, STDERR_FILENO) < 0)
    return false;
  for (int i = 0; i < child.fd_count; ++i) {
    if (::dup2(child.fds[i], kFirstPassedFd + i) < 0) return false;
  }
  const auto report = static_cast<unsigned>(child.report);
  return ::close_range(static_cast<unsigned>(kFirstPassedFd + child.fd_count), report - 1, 0) == 0 &&
         ::close_range(report + 1, ~0U, 0) == 0;
}

// A connection of a client is a descriptor of QEMU's: it has as many as it may.
void take_all_descriptors() {
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return;
  descriptors.rlim_cur = descriptors.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
}

// What goes beyond is an error of that one write or call (EFBIG), not the end of QEMU.
bool bound_files(rlim_t largest) {
  if (largest == 0) return true;
  const rlimit bytes{largest, largest};
  return ::signal(SIGXFSZ, SIG_IGN) != SIG_ERR && ::setrlimit(RLIMIT_FSIZE, &bytes) == 0;
}

// Every file system that it could reach by a path is read-only to it; what it was given by descriptor is as
// it was. Unmounting goes on reaching it. Where the kernel (before 5.12) or this root (a container's) cannot
// do that, its user's rights are what holds it, and its log says so.
bool make_paths_read_only() {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return false;
  mount_attr read_only{};
  read_only.attr_set = MOUNT_ATTR_RDONLY;
  return ::syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &read_only, sizeof read_only) == 0;
}

void say(std::string_view text) {
  (void)!::write(STDERR_FILENO, text.data(), text.size());
}

// What it kept in System V objects and message queues would outlive it, and has no other limit. These limits
// are the namespace's own; an ordinary user may not change them, and what his QEMU keeps goes with it.
void take_ipc() {
  if (::unshare(CLONE_NEWIPC) != 0) return;
  for (const char* limit : {"/proc/sys/kernel/shmall", "/proc/sys/kernel/msgmni",
                            "/proc/sys/fs/mqueue/queues_max", "/proc/sys/kernel/sem"}) {
    constexpr std::string_view kNone = "0 0 0 0";
    const UniqueFd file(::open(limit, O_WRONLY | O_CLOEXEC));
    if (file) (void)!::write(file.get(), kNone.data(), kNone.size());
  }
}

bool drop_privileges() {
  // A core file would hold the memory of the guest, areas included.
  const rlimit none{0, 0};
  const rlimit threads{kMostThreads, kMostThreads};  // of all that its user has
  return ::setrlimit(RLIMIT_CORE, &none) == 0 && ::setrlimit(RLIMIT_NPROC, &threads) == 0 &&
         ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

// By the system calls themselves: the library's functions would look for other threads, which a child of a
// program with threads must not do.
bool become(const HostUser& user) {
  if (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0 ||
      ::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
      ::syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0)
    return false;
  // Gone with root already, unless our own securebits are unusual.
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, 2> no_capabilities{};
  return ::syscall(SYS_capset, &header, no_capabilities.data()) == 0;
}

[[noreturn]] void run(const Child& child, bool in_cgroup) {
  ::setsid();
  const bool joined = in_cgroup || child.cgroup < 0 || ::write(child.cgroup_processes, "0", 1) == 1;
  become_ordinary_child();
  ::umask(077);
  if (!arrange_descriptors(child)) give_up(child, Step::descriptors);
  if (!joined) say(kDaemonsCgroup);
  take_all_descriptors();
  if (child.own_network && !take_own_network()) give_up(child, Step::network);
  if (child.own_network || child.user != nullptr) take_ipc();
  if (!bound_files(child.largest_file)) give_up(child, Step::files);
  if (child.user != nullptr) {
    if (!make_paths_read_only()) say(kWritable);
    if (!drop_privileges()) give_up(child, Step::privileges);
    if (!become(*child.user)) give_up(child, Step::user);
  }
  ::execve(child.program, child.argv, child.environment);
  give_up(child, Step::program);
}

// ---- in the parent ----

bool may_pass_on(std::string_view variable) {
  for (const std::string_view name : {"PATH=", "TZ=", "LANG=", "LD_LIBRARY_PATH="}) {
    if (variable.starts_with(name)) return true;
  }
  for (const std::string_view prefix : {"QEMU_", "UNDERSTUDY_", "ASAN_", "UBSAN_"}) {
    if (variable.starts_with(prefix)) return true;
  }
  return false;
}

std::vector<char*> passed_environment() {
  std::vector<char*> variables;
  for (char** each = environ; *each != nullptr; ++each) {
    if (may_pass_on(*each)) variables.push_back(*each);
  }
  variables.push_back(nullptr);
  return variables;
}

Result<UniqueFd> spare_copy(int fd, int lowest) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, lowest));
  if (!copy) return failure(std::string("cannot pass a descriptor on: ") + std::strerror(errno));
  return copy;
}

pid_t forked(const Child& child) {
  const SignalsBlocked blocked;
  bool in_cgroup = false;
  const pid_t pid = fork_into_cgroup(child.cgroup, in_cgroup);
  if (pid == 0) run(child, in_cgroup);
  return pid;
}

// Its process, once it runs the program. The report's end is above what the child has to arrange.
tl::expected<pid_t, Failed> fork_and_run(Child child) {
  std::array<int, 2> pipe{-1, -1};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return tl::unexpected(Failed{Step::descriptors, errno});
  const UniqueFd from_child(pipe[0]);
  UniqueFd to_parent(pipe[1]);
  UniqueFd report(::fcntl(to_parent.get(), F_DUPFD_CLOEXEC, kFirstPassedFd + child.fd_count + 1));
  if (!report) return tl::unexpected(Failed{Step::descriptors, errno});
  to_parent.reset();
  child.report = report.get();
  const pid_t pid = forked(child);
  if (pid < 0) return tl::unexpected(Failed{Step::program, errno});
  report.reset();
  Failed failed{};
  ssize_t count = 0;
  while ((count = ::read(from_child.get(), &failed, sizeof failed)) < 0 && errno == EINTR) {
  }
  if (count == 0) return pid;  // closed by a successful exec
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (count != static_cast<ssize_t>(sizeof failed)) failed = {Step::program, EIO};
  return tl::unexpected(failed);
}

void say_hosts_network(int log, int error) {
  const std::string text =
      std::string(
          "this QEMU is in the host's network: this user or this kernel cannot give it one of its own (") +
      std::strerror(error) + ")\n";
  (void)!::write(log, text.data(), text.size());
}

std::string cannot_start(const SpawnSpec& spec, const Failed& failed) {
  std::string text = "cannot start " + spec.argv[0] + ": ";
  if (failed.step != Step::program) text += std::string(step_name(failed.step)) + ": ";
  text += std::strerror(failed.error);
  if (failed.step == Step::program && failed.error == ENOENT)
    text += "; install QEMU (Debian: apt install qemu-system-x86)";
  if (failed.step == Step::user)
    text += " (uid " + std::to_string(spec.user->uid) +
            "); this root may not become other users: write run_as = \"daemon\" in [qemu]";
  return text;
}

}  // namespace

std::optional<fs::path> find_program(const std::string& program) {
  if (program.find('/') != std::string::npos)
    return ::access(program.c_str(), X_OK) == 0 ? std::optional<fs::path>(program) : std::nullopt;
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const fs::path candidate = fs::path(rest.substr(0, end)) / program;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return std::nullopt;
}

Result<pid_t> spawn_process(const SpawnSpec& spec) {
  const Doing doing("starting QEMU");
  const auto program = find_program(spec.argv[0]);
  if (!program) return failure(cannot_start(spec, {Step::program, errno == EACCES ? EACCES : ENOENT}));
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd log(::open(spec.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!log) return failure("cannot open the log " + spec.log.string() + ": " + std::strerror(errno));
  if (!null) return failure("cannot open /dev/null: " + std::string(std::strerror(errno)));
  (void)!::write(log.get(), spec.first_words.data(), spec.first_words.size());
  // Copies far above the targets: otherwise moving one into place could overwrite the next.
  std::vector<UniqueFd> copies;
  std::vector<int> fds;
  const int lowest = kFirstPassedFd + static_cast<int>(spec.fds.size()) + 1;
  for (const int fd : spec.fds) {
    auto copy = spare_copy(fd, lowest);
    if (!copy) return failure(copy.error().message);
    fds.push_back(copy->get());
    copies.push_back(std::move(*copy));
  }
  std::vector<char*> argv;
  for (const std::string& argument : spec.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const std::vector<char*> environment = passed_environment();
  Child child{program->c_str(),
              argv.data(),
              environment.data(),
              null.get(),
              log.get(),
              fds.data(),
              static_cast<int>(fds.size()),
              -1,
              spec.user ? &*spec.user : nullptr,
              spec.own_network,
              spec.largest_file_bytes,
              spec.cgroup,
              spec.cgroup_processes};
  auto pid = fork_and_run(child);
  if (!pid && pid.error().step == Step::network) {
    say_hosts_network(log.get(), pid.error().error);
    child.own_network = false;
    pid = fork_and_run(child);
  }
  if (!pid) return failure(cannot_start(spec, pid.error()));
  return *pid;
}

}  // namespace understudy::qemu

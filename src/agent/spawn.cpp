#include "agent/spawn.hpp"

#include "agent/isolation.hpp"
#include "agent/os.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace understudy::agent {

namespace {

constexpr rlim_t kMostDescriptors = 524'288;

struct Child {
  const SpawnRequest& request;
  const std::vector<char*>& argv;
  const std::vector<char*>& environment;
  int output;
  int exec_error;
  bool born_inside;

  [[noreturn]] void fail(const char* step) const {
    const std::string text = errno_text(step);
    (void)!::write(exec_error, text.data(), text.size());
    ::_exit(127);
  }

  void default_signals() const {
    for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
  }

  // The agent's own standing (memory that is never given up, first in line for the CPU) is not handed down.
  void ordinary_standing() const {
    const sched_param ordinary{};
    (void)::sched_setscheduler(0, SCHED_OTHER, &ordinary);
    (void)::setpriority(PRIO_PROCESS, 0, request.nice);
    (void)write_file("/proc/self/oom_score_adj", "0");
  }

  // The kernel gives its init 4096 descriptors at most, and that is handed down; servers want more. The soft
  // limit stays where select() still works, as everywhere; a program that wants more raises it.
  void ordinary_limits() const {
    rlimit descriptors{};
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return;
    descriptors.rlim_max = std::max<rlim_t>(descriptors.rlim_max, kMostDescriptors);
    (void)::setrlimit(RLIMIT_NOFILE, &descriptors);
  }

  void become_user() const {
    const User& user = request.user;
    if (::geteuid() == user.uid && ::getegid() == user.gid && user.uid != 0) return;
    if (::geteuid() == 0 && ::setgroups(1, &user.gid) != 0) fail("setgroups");
    if (::setgid(user.gid) != 0) fail("setgid");
    if (::setuid(user.uid) != 0) fail("setuid");
  }

  [[noreturn]] void run() const {
    ::setsid();
    default_signals();
    if (request.container != nullptr && !born_inside && !request.container->join_in_child()) {
      fail("joining its cgroup");
    }
    ordinary_standing();
    ordinary_limits();
    if (request.isolated) {
      if (const std::string step = isolate(request.scratch); !step.empty()) fail(step.c_str());
    }
    if (request.inside > 0) {
      if (const std::string step = join_isolation(request.inside); !step.empty()) fail(step.c_str());
    }
    const int null = ::open("/dev/null", O_RDONLY);
    if (null < 0 || ::dup2(null, STDIN_FILENO) < 0) fail("/dev/null");
    if (::dup2(output, STDOUT_FILENO) < 0 || ::dup2(output, STDERR_FILENO) < 0) fail("dup2");
    become_user();
    ::umask(022);
    (void)::chdir("/");
    ::execve(argv[0], argv.data(), environment.data());
    fail(argv[0]);
  }
};

// A fork whose child is in the cgroup from its first instruction on (Linux 5.7 and newer); -1: it cannot be
// had.
pid_t fork_into(int cgroup) {
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(cgroup);
  return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& string : strings) out.push_back(const_cast<char*>(string.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<Spawned> spawn(const SpawnRequest& request) {
  if (request.argv.empty() || request.argv[0].empty()) return failure("there is no command to run");
  int output[2];
  int exec_error[2];
  if (::pipe2(output, O_CLOEXEC) != 0) return failure(errno_text("pipe"));
  UniqueFd output_read(output[0]);
  const UniqueFd output_write(output[1]);
  if (::pipe2(exec_error, O_CLOEXEC) != 0) return failure(errno_text("pipe"));
  UniqueFd error_read(exec_error[0]);
  const UniqueFd error_write(exec_error[1]);
  // Our ends only: the program must see ordinary, blocking descriptors.
  ::fcntl(output_read.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(error_read.get(), F_SETFL, O_NONBLOCK);

  const auto argv = pointers(request.argv);
  const auto environment = pointers(request.environment);
  const int cgroup = request.container == nullptr ? -1 : request.container->cgroup();
  pid_t pid = cgroup < 0 ? -1 : fork_into(cgroup);
  const bool born_inside = pid >= 0;
  if (!born_inside) pid = ::fork();
  if (pid < 0) return failure(errno_text("fork"));
  if (pid == 0) Child{request, argv, environment, output_write.get(), error_write.get(), born_inside}.run();
  if (request.container != nullptr) request.container->forked(pid, born_inside);
  return Spawned{pid, std::move(output_read), std::move(error_read)};
}

}  // namespace understudy::agent

#include "agent/own_processes.hpp"

#include "agent/os.hpp"
#include "base/cgroup.hpp"
#include "base/kernel_files.hpp"
#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace understudy::agent {

namespace {

int tried_in_child() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  return see_own_processes().empty() ? 0 : errno;
}

pid_t fork_anywhere(const Container* container, bool& born_inside) {
  return fork_into_cgroup(container == nullptr ? -1 : container->cgroup(), born_inside);
}

}  // namespace

Result<void> try_own_processes() {
  const long pid = ::syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) return failure(errno_text("a PID namespace"));
  if (pid == 0) ::_exit(tried_in_child());
  int status = 0;
  while (::waitpid(static_cast<pid_t>(pid), &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status)) return failure("a PID namespace: what tried it was killed");
  if (WEXITSTATUS(status) != 0) return failure(errno_text("/proc of a PID namespace", WEXITSTATUS(status)));
  return {};
}

std::string see_own_processes() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  return ::mount("proc", "/proc", "proc", kFlags, "") == 0 ? "" : "a /proc of its own";
}

// The agent itself goes nowhere: joining a PID namespace is joining it with one's next children. It has one
// thread, and nobody else to confuse.
pid_t fork_among(int pid_namespace, const Container* container, bool& born_inside) {
  if (pid_namespace < 0) return fork_anywhere(container, born_inside);
  const UniqueFd home(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!home || ::setns(pid_namespace, CLONE_NEWPID) != 0) return -1;
  const pid_t pid = fork_anywhere(container, born_inside);
  if (pid == 0) return 0;
  const int code = errno;
  if (::setns(home.get(), CLONE_NEWPID) != 0) say(errno_text("leaving an application's PID namespace"));
  errno = code;
  return pid;
}

}  // namespace understudy::agent

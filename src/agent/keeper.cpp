#include "agent/keeper.hpp"

#include "agent/inheritance.hpp"
#include "agent/isolation.hpp"
#include "agent/own_processes.hpp"
#include "base/cgroup.hpp"
#include "base/kernel_files.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace understudy::agent {

namespace {

// In the forked child. The step that failed (errno says why); empty: done.
std::string make(const Namespaces& namespaces, const User& user) {
  std::string failed;
  if (namespaces.files) failed = make_own_files(*namespaces.files, user);
  if (failed.empty() && namespaces.processes) failed = see_own_processes();
  if (failed.empty() && namespaces.isolated) failed = isolate(namespaces.scratch);
  if (failed.empty() && namespaces.isolated && namespaces.files)
    failed = keep_own_files_writable(*namespaces.files, user);
  return failed;
}

// Nothing of the agent's is kept open in here, and nothing of it is done.
[[noreturn]] void stay(const Namespaces& namespaces, const User& user, int made) {
  ::setsid();
  default_signals();
  ::signal(SIGCHLD, SIG_IGN);  // whoever is adopted leaves no zombie
  ordinary_scheduling(0);
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // an agent that is started anew makes others
  const int out = ::dup2(made, STDIN_FILENO);
  (void)::syscall(SYS_close_range, STDIN_FILENO + 1U, ~0U, 0U);
  if (const std::string failed = make(namespaces, user); !failed.empty()) {
    const std::string text = errno_text(failed);
    (void)!::write(out, text.data(), text.size());
  }
  // It stays after a failure, too: whoever was sent in there comes to read why.
  ::close(out);
  for (;;) ::pause();
}

}  // namespace

Keeper::~Keeper() {
  container_->kill_all();
  if (!own_run_directory_.empty()) (void)::rmdir(own_run_directory_.c_str());
}

Result<void> Keeper::keep(const Namespaces& namespaces, const User& user) {
  if (there()) return {};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return failure(errno_text("pipe"));
  ready_ = UniqueFd(ends[0]);
  const UniqueFd made(ends[1]);
  pid_namespace_.reset();
  if (namespaces.files) {
    own_run_directory_ = namespaces.files->own_run_directory;
    if (::mkdir(own_run_directory_.c_str(), 0755) != 0 && errno != EEXIST)
      return failure(errno_text(own_run_directory_));
  }
  bool born_inside = false;
  const pid_t pid =
      fork_into_cgroup(container_->cgroup(), born_inside, namespaces.processes ? CLONE_NEWPID : 0);
  if (pid < 0) return failure(errno_text("fork"));
  if (pid == 0) {
    if (!born_inside && !container_->join_in_child()) ::_exit(1);
    stay(namespaces, user, made.get());
  }
  pid_ = pid;
  container_->forked(pid, born_inside);
  if (!namespaces.processes) return {};
  pid_namespace_ =
      UniqueFd(::open(("/proc/" + std::to_string(pid) + "/ns/pid").c_str(), O_RDONLY | O_CLOEXEC));
  if (!pid_namespace_) return failure(errno_text("its PID namespace"));
  return {};
}

}  // namespace understudy::agent

#include "agent/spawn.hpp"

#include "agent/inheritance.hpp"
#include "agent/isolation.hpp"
#include "agent/own_domain.hpp"
#include "agent/own_processes.hpp"
#include "base/cgroup.hpp"
#include "base/kernel_files.hpp"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace understudy::agent {

namespace {

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

  // The agent's own standing (memory that is never given up, first in line for the CPU) is not handed down.
  void ordinary_standing() const {
    ordinary_scheduling(request.nice);
    (void)write_file("/proc/self/oom_score_adj", "0");
    ordinary_limits(request.processes, request.container != nullptr && request.container->limits_processes());
  }

  // Where it runs: what it sees of the guest, and what it may write to.
  void go_to_its_place() const {
    if (request.keeper == nullptr) return;
    char text[256];
    const ssize_t got = ::read(request.keeper->ready(), text, sizeof text);
    if (got > 0) {
      (void)!::write(exec_error, text, static_cast<std::size_t>(got));
      ::_exit(127);
    }
    must(join_namespaces(request.keeper->pid()));
    if (!request.own_files) return;
    resize_own_files(*request.own_files);
    see_own_cgroups();
  }

  void must(const std::string& failed_step) const {
    if (!failed_step.empty()) fail(failed_step.c_str());
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
    go_to_its_place();
    const int null = ::open("/dev/null", O_RDONLY);
    if (null < 0 || ::dup2(null, STDIN_FILENO) < 0) fail("/dev/null");
    if (::dup2(output, STDOUT_FILENO) < 0 || ::dup2(output, STDERR_FILENO) < 0) fail("dup2");
    // What it opens again as /dev/stdout is its own, too.
    (void)::fchown(output, request.user.uid, request.user.gid);
    if (request.own_domain && !enter_own_domain()) fail("a Landlock domain of its own");
    become_user();
    ::umask(022);
    (void)::chdir("/");
    ::execve(argv[0], argv.data(), environment.data());
    fail(argv[0]);
  }
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& string : strings) out.push_back(const_cast<char*>(string.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::string read_exec_error(int exec_error) {
  char text[256];
  const ssize_t got = exec_error < 0 ? -1 : ::read(exec_error, text, sizeof text);
  return got > 0 ? std::string(text, static_cast<std::size_t>(got)) : "";
}

std::string command_text(const std::vector<std::string>& argv) {
  constexpr std::size_t kMostBytes = 80;
  std::string text;
  for (const std::string& argument : argv) {
    const bool plain = !argument.empty() && argument.find_first_of(" \t\n\"'$;&|<>()*?") == std::string::npos;
    text += (text.empty() ? "" : " ") + (plain ? argument : "'" + argument + "'");
  }
  if (text.size() > kMostBytes) text = text.substr(0, kMostBytes) + " ...";
  return text;
}

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
  bool born_inside = false;
  const int pid_namespace = request.keeper == nullptr ? -1 : request.keeper->pid_namespace();
  const pid_t pid = fork_among(pid_namespace, request.container, born_inside);
  if (pid < 0) return failure(errno_text("fork"));
  if (pid == 0) Child{request, argv, environment, output_write.get(), error_write.get(), born_inside}.run();
  if (request.container != nullptr) request.container->forked(pid, born_inside);
  return Spawned{pid, std::move(output_read), std::move(error_read)};
}

}  // namespace understudy::agent

#include "agent/children.hpp"

#include "base/kernel_files.hpp"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace understudy::agent {

Result<std::unique_ptr<Children>> Children::create(Loop& loop) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  if (::sigprocmask(SIG_BLOCK, &mask, nullptr) != 0) return failure(errno_text("sigprocmask"));
  UniqueFd signals(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return failure(errno_text("signalfd"));
  return std::unique_ptr<Children>(new Children(loop, std::move(signals)));
}

Children::Children(Loop& loop, UniqueFd signals) : signals_(std::move(signals)) {
  watch_ = loop.watch(signals_.get(), EPOLLIN, [this](std::uint32_t) { reap(); });
}

void Children::expect(pid_t pid, OnEnd on_end) {
  expected_[pid] = std::move(on_end);
}

void Children::forget(pid_t pid) {
  expected_.erase(pid);
}

void Children::reap() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
  }
  // One SIGCHLD may stand for many ends.
  int status = 0;
  bool any = false;
  for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG)) {
    any = true;
    const auto node = expected_.extract(pid);
    if (!node.empty()) node.mapped()(status);
  }
  if (any && on_any_end_) on_any_end_();
}

std::string describe_end(int wait_status, std::string_view exec_error, std::string_view output) {
  if (!exec_error.empty()) return "it cannot be executed: " + std::string(exec_error);
  std::string text = describe_end(wait_status);
  constexpr int kNotExecutable = 126;
  constexpr int kNotFound = 127;
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kNotFound)
    text += ", which a shell says of a command that is not there";
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kNotExecutable)
    text += ", which a shell says of a command that it may not execute";
  const std::string_view said = trim(output);
  if (!said.empty()) text += " (" + std::string(said.substr(said.rfind('\n') + 1)) + ")";
  return text;
}

std::string describe_end(int wait_status) {
  if (WIFEXITED(wait_status)) return "exit status " + std::to_string(WEXITSTATUS(wait_status));
  const int signal = WTERMSIG(wait_status);
  const char* name = ::sigabbrev_np(signal);
  return "killed by signal " + std::to_string(signal) +
         (name == nullptr ? "" : " (SIG" + std::string(name) + ")");
}

}  // namespace understudy::agent

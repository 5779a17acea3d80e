#include "gateway/spawn.hpp"

#include "base/unique_fd.hpp"
#include "gateway/limits.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string>

namespace understudy::gateway {

namespace {

struct Child {
  const char* program;
  char* const* arguments;
  int to_starter;
  int log;
  int null;
};

// Between fork and exec: nothing but system calls, because the daemon may have other threads.
[[noreturn]] void become_gateway(const Child& child) {
  ::setsid();
  if (const pid_t pid = ::fork(); pid != 0) ::_exit(pid < 0 ? 1 : 0);  // an orphan: nobody here waits for it
  for (const int signal : {SIGPIPE, SIGHUP, SIGTERM, SIGINT, SIGCHLD, SIGUSR1, SIGUSR2})
    ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(child.null, STDIN_FILENO) >= 0 && ::dup2(child.to_starter, STDOUT_FILENO) >= 0 &&
      ::dup2(child.log, STDERR_FILENO) >= 0) {
    ::close_range(3, ~0U, 0);
    ::execv(child.program, child.arguments);
  }
  constexpr const char kCannot[] = "error: the program could not be started\n";
  (void)!::write(STDOUT_FILENO, kCannot, sizeof(kCannot) - 1);
  ::_exit(127);
}

Result<std::string> first_line(int fd) {
  const auto deadline = std::chrono::steady_clock::now() + kStartLimit;
  std::string text;
  while (text.find('\n') == std::string::npos) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd wait{fd, POLLIN, 0};
    const int ready = left > 0 ? ::poll(&wait, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return failure(fmt::format("it did not become ready within {} ms", kStartLimit.count()));
    std::array<char, 512> chunk{};
    const ssize_t count = ::read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return failure("it ended without a word");
    text.append(chunk.data(), static_cast<std::size_t>(count));
    if (text.size() > kLongestRequest) return failure("it said something else than ready");
  }
  return text.substr(0, text.find('\n'));
}

}  // namespace

Result<void> spawn_gateway(const std::filesystem::path& program, const std::filesystem::path& socket,
                           const std::filesystem::path& log) {
  const auto cannot = [&](const std::string& why) {
    return failure(fmt::format("the gateway cannot be started: {}; its log is {}", why, log.string()));
  };
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const UniqueFd log_file(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  std::array<int, 2> pipe{-1, -1};
  if (!null || !log_file || ::pipe2(pipe.data(), O_CLOEXEC) != 0) return cannot(std::strerror(errno));
  const UniqueFd from_child(pipe[0]);
  UniqueFd to_starter(pipe[1]);
  std::string name = "understudyd";
  std::string option = "--gateway";
  std::string value = socket.string();
  const std::array<char*, 4> arguments{name.data(), option.data(), value.data(), nullptr};
  const std::string file = program.string();
  const pid_t pid = ::fork();
  if (pid < 0) return cannot(std::strerror(errno));
  if (pid == 0)
    become_gateway({file.c_str(), arguments.data(), to_starter.get(), log_file.get(), null.get()});
  to_starter.reset();
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  const auto said = first_line(from_child.get());
  if (!said) return cannot(said.error().message);
  if (*said != "ready") return cannot(*said);
  return {};
}

}  // namespace understudy::gateway

#include "gateway/spawn.hpp"

#include "base/inherited_state.hpp"
#include "base/signals_blocked.hpp"
#include "base/unique_fd.hpp"
#include "gateway/kept_listeners.hpp"
#include "gateway/limits.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace understudy::gateway {

namespace {

struct Child {
  const char* program;
  char* const* arguments;
  char* const* environment;
  const int* listeners;  // all of them above where they are to be
  int listener_count;
  int to_starter;
  int log;
  int null;
};

// Between fork and exec: nothing but system calls, because the daemon may have other threads.
[[noreturn]] void become_gateway(const Child& child) {
  ::setsid();
  if (const pid_t pid = ::fork(); pid != 0) ::_exit(pid < 0 ? 1 : 0);  // an orphan: nobody here waits for it
  become_ordinary_child();
  bool arranged = ::dup2(child.null, STDIN_FILENO) >= 0 && ::dup2(child.to_starter, STDOUT_FILENO) >= 0 &&
                  ::dup2(child.log, STDERR_FILENO) >= 0;
  for (int i = 0; i < child.listener_count; ++i)
    arranged = arranged && ::dup2(child.listeners[i], kFirstListener + i) >= 0;
  if (arranged) {
    ::close_range(static_cast<unsigned>(kFirstListener + child.listener_count), ~0U, 0);
    ::execve(child.program, child.arguments, child.environment);
  }
  constexpr const char kCannot[] = "error: the program could not be started\n";
  (void)!::write(STDOUT_FILENO, kCannot, sizeof(kCannot) - 1);
  ::_exit(127);
}

// A copy above where the child's descriptors are to be: moving one there overwrites no other. And no higher
// than needed: a process may have few.
UniqueFd spare(const UniqueFd& of, int lowest) {
  return UniqueFd(of ? ::fcntl(of.get(), F_DUPFD_CLOEXEC, lowest) : -1);
}

std::vector<char*> environment_with(std::string& variable) {
  std::vector<char*> all;
  for (char** each = environ; *each != nullptr; ++each) all.push_back(*each);
  all.push_back(variable.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

GatewayStart::GatewayStart(UniqueFd from_child, pid_t between, std::filesystem::path log)
    : from_child_(std::move(from_child)), between_(between), log_(std::move(log)) {}

GatewayStart::GatewayStart(GatewayStart&& other) noexcept
    : from_child_(std::move(other.from_child_)),
      between_(std::exchange(other.between_, -1)),
      log_(std::move(other.log_)),
      heard_(std::move(other.heard_)) {}

GatewayStart::~GatewayStart() {
  // It ended before the gateway said its first word: waiting for it is no waiting.
  while (between_ > 0 && ::waitpid(between_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Error GatewayStart::cannot(const std::string& why) const {
  return {fmt::format("the gateway cannot be started: {}; its log is {}", why, log_.string())};
}

Error GatewayStart::too_late() const {
  return cannot(fmt::format("it did not become ready within {} ms", kStartLimit.count()));
}

std::optional<Result<void>> GatewayStart::hear() {
  for (;;) {
    if (const std::size_t end = heard_.find('\n'); end != std::string::npos) {
      const std::string line = heard_.substr(0, end);
      return line == "ready" ? Result<void>() : tl::unexpected(cannot(line));
    }
    if (heard_.size() > kLongestRequest) return tl::unexpected(cannot("it said something else than ready"));
    std::array<char, 512> chunk{};
    const ssize_t count = ::read(from_child_.get(), chunk.data(), chunk.size());
    if (count > 0) {
      heard_.append(chunk.data(), static_cast<std::size_t>(count));
    } else if (count == 0) {
      return tl::unexpected(cannot("it ended without a word"));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return std::nullopt;
    } else if (errno != EINTR) {
      return tl::unexpected(cannot(std::strerror(errno)));
    }
  }
}

Result<void> GatewayStart::wait(milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (const auto said = hear()) return *said;
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd readable{from_child_.get(), POLLIN, 0};
    const int count = left > 0 ? ::poll(&readable, 1, static_cast<int>(left)) : 0;
    if (count == 0 || (count < 0 && errno != EINTR)) return tl::unexpected(too_late());
  }
}

Result<GatewayStart> GatewayStart::begin(const std::filesystem::path& program,
                                         const std::filesystem::path& socket,
                                         const std::filesystem::path& log,
                                         const std::vector<int>& listeners) {
  const auto cannot = [&] {
    return failure(
        fmt::format("the gateway cannot be started: {}; its log is {}", std::strerror(errno), log.string()));
  };
  const int lowest = kFirstListener + static_cast<int>(listeners.size());
  const UniqueFd null = spare(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)), lowest);
  const UniqueFd log_file = spare(
      UniqueFd(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)), lowest);
  std::array<int, 2> pipe{-1, -1};
  if (!null || !log_file || ::pipe2(pipe.data(), O_CLOEXEC) != 0) return cannot();
  UniqueFd from_child(pipe[0]);
  const UniqueFd to_starter = spare(UniqueFd(pipe[1]), lowest);
  if (!to_starter || ::fcntl(from_child.get(), F_SETFL, O_NONBLOCK) != 0) return cannot();
  std::vector<UniqueFd> copies;
  std::vector<int> spares;
  for (const int listener : listeners) {
    copies.emplace_back(::fcntl(listener, F_DUPFD_CLOEXEC, lowest));
    if (!copies.back()) return cannot();
    spares.push_back(copies.back().get());
  }
  std::string name = "understudyd";
  std::string option = "--gateway";
  std::error_code error;
  std::string value = std::filesystem::absolute(socket, error).lexically_normal().string();
  const std::array<char*, 4> arguments{name.data(), option.data(), value.data(), nullptr};
  std::string count = fmt::format("{}={}", kListenersVariable, spares.size());
  const std::vector<char*> environment = environment_with(count);
  const std::string file = program.string();
  const SignalsBlocked blocked;
  const pid_t pid = ::fork();
  if (pid == 0)
    become_gateway({file.c_str(), arguments.data(), environment.data(), spares.data(),
                    static_cast<int>(spares.size()), to_starter.get(), log_file.get(), null.get()});
  if (pid < 0) return cannot();
  return GatewayStart(std::move(from_child), pid, log);
}

}  // namespace understudy::gateway

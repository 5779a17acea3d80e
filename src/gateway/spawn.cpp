#include "gateway/spawn.hpp"

#include "base/inherited_state.hpp"
#include "base/signals_blocked.hpp"
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
#include <cstring>
#include <string>
#include <utility>

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
  become_ordinary_child();
  if (::dup2(child.null, STDIN_FILENO) >= 0 && ::dup2(child.to_starter, STDOUT_FILENO) >= 0 &&
      ::dup2(child.log, STDERR_FILENO) >= 0) {
    ::close_range(3, ~0U, 0);
    ::execv(child.program, child.arguments);
  }
  constexpr const char kCannot[] = "error: the program could not be started\n";
  (void)!::write(STDOUT_FILENO, kCannot, sizeof(kCannot) - 1);
  ::_exit(127);
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
                                         const std::filesystem::path& log) {
  const auto cannot = [&] {
    return failure(
        fmt::format("the gateway cannot be started: {}; its log is {}", std::strerror(errno), log.string()));
  };
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const UniqueFd log_file(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  std::array<int, 2> pipe{-1, -1};
  if (!null || !log_file || ::pipe2(pipe.data(), O_CLOEXEC) != 0) return cannot();
  UniqueFd from_child(pipe[0]);
  const UniqueFd to_starter(pipe[1]);
  if (::fcntl(from_child.get(), F_SETFL, O_NONBLOCK) != 0) return cannot();
  std::string name = "understudyd";
  std::string option = "--gateway";
  std::error_code error;
  std::string value = std::filesystem::absolute(socket, error).lexically_normal().string();
  const std::array<char*, 4> arguments{name.data(), option.data(), value.data(), nullptr};
  const std::string file = program.string();
  const SignalsBlocked blocked;
  const pid_t pid = ::fork();
  if (pid == 0)
    become_gateway({file.c_str(), arguments.data(), to_starter.get(), log_file.get(), null.get()});
  if (pid < 0) return cannot();
  return GatewayStart(std::move(from_child), pid, log);
}

}  // namespace understudy::gateway

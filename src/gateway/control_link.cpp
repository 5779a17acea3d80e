#include "gateway/control_link.hpp"

#include "base/passed_descriptors.hpp"
#include "gateway/limits.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace understudy::gateway {

namespace {

using Clock = std::chrono::steady_clock;

// Whether the descriptor became ready for `events` by then.
bool ready_by(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
    pollfd wait{fd, events, 0};
    const int count = ::poll(&wait, 1, left > 0 ? static_cast<int>(left) : 0);
    if (count > 0) return true;
    if (count == 0 || errno != EINTR) return false;
  }
}

Error silent(std::chrono::milliseconds limit) {
  return {fmt::format("the gateway did not answer within {} ms", limit.count())};
}

}  // namespace

Result<std::optional<ControlLink>> ControlLink::connect(const std::filesystem::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() >= sizeof(address.sun_path)) {
    return failure(
        fmt::format("{} is too long a path for a unix socket; choose a shorter run directory", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return ControlLink(std::move(fd));
  }
  if (errno == ENOENT || errno == ECONNREFUSED) return std::optional<ControlLink>();
  if (errno == EAGAIN) {
    return failure(fmt::format("the gateway at {} hangs and takes no more connections; end it: fuser -k {}",
                               path, path));
  }
  return failure(fmt::format("the gateway at {} cannot be reached: {}", path, std::strerror(errno)));
}

Result<std::uint64_t> ControlLink::post(const Request& request) {
  unsent_ += request_line(++last_id_, request) + "\n";
  if (auto sent = flush(); !sent) return tl::unexpected(sent.error());
  if (unsent_.size() > kMostUnsentRequests) return failure("the gateway takes no more requests");
  return last_id_;
}

Result<void> ControlLink::flush() {
  while (!unsent_.empty()) {
    const ssize_t count = ::send(fd_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      unsent_.erase(0, static_cast<std::size_t>(count));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return {};
    } else if (errno != EINTR) {
      return failure(fmt::format("the gateway is gone: {}", std::strerror(errno)));
    }
  }
  return {};
}

Result<std::uint64_t> ControlLink::send(const Request& request, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  const auto id = post(request);
  while (id && has_unsent()) {
    if (!ready_by(fd_.get(), POLLOUT, deadline)) return failure("the gateway takes no more requests");
    if (auto sent = flush(); !sent) return tl::unexpected(sent.error());
  }
  return id;
}

Result<std::optional<Answer>> ControlLink::receive(milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  for (;;) {
    if (const std::size_t end = received_.find('\n'); end != std::string::npos) {
      auto answer = parse_answer(std::string_view(received_).substr(0, end));
      received_.erase(0, end + 1);
      if (!answer) return tl::unexpected(answer.error());
      return *std::move(answer);
    }
    if (received_.size() > kLongestAnswer) return failure("the gateway's answer is too long");
    std::array<char, 16384> chunk{};
    const ssize_t count = receive_with_descriptors(fd_.get(), chunk.data(), chunk.size(), descriptors_);
    if (count > 0) {
      received_.append(chunk.data(), static_cast<std::size_t>(count));
      if (descriptors_.size() > kMostServices) return failure("the gateway passes too many descriptors");
    } else if (count == 0) {
      return failure("the gateway closed the connection");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!ready_by(fd_.get(), POLLIN, deadline)) return std::optional<Answer>();
    } else if (errno != EINTR) {
      return failure(fmt::format("the gateway is gone: {}", std::strerror(errno)));
    }
  }
}

Result<Answer> ControlLink::exchange(const Request& request, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  const auto id = send(request, limit);
  if (!id) return tl::unexpected(id.error());
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    auto answer = receive(std::max(left, milliseconds(0)));
    if (!answer) return tl::unexpected(answer.error());
    if (!*answer) return tl::unexpected(silent(limit));
    if ((*answer)->id != *id) continue;
    if (!(*answer)->ok) return failure((*answer)->error);
    return **std::move(answer);
  }
}

}  // namespace understudy::gateway

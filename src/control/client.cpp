#include "control/client.hpp"

#include "control/silence.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace understudy::control {

namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

// connect() to a daemon that accepts nobody waits for a place in its queue, as long as a send may take.
void limit_connect(int fd, Duration limit) {
  const auto us = limit.count();
  const timeval value{static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value);
}

pid_t peer_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

Result<sockaddr_un> address_of(const std::filesystem::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() >= sizeof address.sun_path)
    return failure(path + " is too long for a socket (107 bytes at most)");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int milliseconds_until(Clock::time_point end) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

}  // namespace

Client::Client(UniqueFd fd, Waiting waiting)
    : fd_(std::move(fd)), waiting_(waiting), daemon_(peer_of(fd_.get())) {
  if (daemon_ > 0) process_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, daemon_, 0)));
}

bool Client::listens(const std::filesystem::path& socket) {
  const auto address = address_of(socket);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return address && fd &&
         (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0 ||
          errno == EAGAIN);
}

Result<Client> Client::connect(const std::filesystem::path& socket, Waiting waiting) {
  const auto address = address_of(socket);
  if (!address) return tl::unexpected(address.error());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return failure(std::string("cannot make a socket: ") + std::strerror(errno));
  limit_connect(fd.get(), waiting.answer_limit);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    if (errno == EAGAIN) return failure(silence_text(pid_in(socket.parent_path()), waiting.answer_limit));
    return failure(nobody_answers(socket, errno));
  }
  return Client(std::move(fd), waiting);
}

Error Client::no_answer() const {
  return Error{silence_text(daemon_, waiting_.answer_limit)};
}

bool Client::has_answered() const {
  char byte = 0;
  return ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

Result<void> Client::send(const Command& command) {
  const std::string line = encode(command) + "\n";
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t put = ::send(fd_.get(), line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return tl::unexpected(no_answer());
    if (put < 0 && has_answered()) return {};  // it refused before it was asked, and says why
    if (put < 0) return failure(ended_text("before it was asked"));
    done += static_cast<std::size_t>(put);
  }
  return {};
}

Client::Heard Client::read_line(std::string& line, Duration limit) {
  const auto end = Clock::now() + limit;
  for (;;) {
    const std::size_t newline = pending_.find('\n');
    if (newline != std::string::npos) {
      line = pending_.substr(0, newline);
      pending_.erase(0, newline + 1);
      return Heard::line;
    }
    pollfd on[] = {{fd_.get(), POLLIN, 0}, {waiting_.wake_fd, POLLIN, 0}};
    const int ready = ::poll(on, 2, milliseconds_until(end));
    if (ready < 0 && errno == EINTR) continue;
    if (on[1].revents != 0) return Heard::interrupted;
    if (ready == 0 && Clock::now() >= end) return Heard::nothing;
    if (on[0].revents == 0) continue;
    char chunk[16384];
    const ssize_t got = ::recv(fd_.get(), chunk, sizeof chunk, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Heard::closed;
    pending_.append(chunk, static_cast<std::size_t>(got));
  }
}

Result<json::value> Client::ask(const Command& command) {
  if (const Result<void> sent = send(command); !sent) return tl::unexpected(sent.error());
  std::string line;
  switch (read_line(line, waiting_.answer_limit)) {
    case Heard::line: break;
    case Heard::nothing: return tl::unexpected(no_answer());
    case Heard::closed: return failure(ended_text("before it answered"));
    case Heard::interrupted: return failure("interrupted before understudyd answered");
  }
  boost::system::error_code error;
  const json::value answer = json::parse(line, error);
  if (error || !answer.is_object()) return failure("understudyd answered something that is not JSON");
  const json::object& object = answer.get_object();
  if (const json::value* result = object.if_contains("result")) return *result;
  const json::value* why = object.if_contains("error");
  return failure(why != nullptr && why->is_string() ? std::string(why->get_string()) : "understudyd refused");
}

Result<Client::End> Client::events(bool follow, const std::function<bool(const json::object&)>& each,
                                   const std::function<bool()>& idle) {
  if (const Result<void> sent = send(command::Events{follow}); !sent) return tl::unexpected(sent.error());
  for (;;) {
    std::string line;
    switch (read_line(line, waiting_.answer_limit)) {
      case Heard::line: break;
      case Heard::interrupted: return End::interrupted;
      case Heard::nothing:
        if (!follow) return tl::unexpected(no_answer());
        if (idle && !idle()) return End::enough;
        continue;
      case Heard::closed:
        if (!pending_.empty()) return failure("understudyd went away in the middle of an event");
        return follow ? End::daemon_ended : End::all_told;
    }
    boost::system::error_code error;
    const json::value event = json::parse(line, error);
    if (error || !event.is_object()) return failure("understudyd sent an event that is not JSON");
    if (const json::value* why = event.get_object().if_contains("error"); why != nullptr && why->is_string())
      return failure(std::string(why->get_string()));
    if (!each(event.get_object())) return End::enough;
  }
}

bool Client::interrupted() const {
  pollfd wake{waiting_.wake_fd, POLLIN, 0};
  return waiting_.wake_fd >= 0 && ::poll(&wake, 1, 0) > 0;
}

bool Client::wait_for_end(Duration limit) {
  const auto end = Clock::now() + limit;
  for (;;) {
    pollfd on[] = {{process_.get(), POLLIN, 0}, {waiting_.wake_fd, POLLIN, 0}};
    if (!process_) {  // of another process namespace: its end of the connection is all that is seen
      on[0] = {fd_.get(), POLLRDHUP, 0};
    }
    const int ready = ::poll(on, 2, milliseconds_until(end));
    if (ready > 0 && on[0].revents != 0) return true;
    if (ready > 0) return false;
    if (ready == 0 && Clock::now() >= end) return false;
  }
}

}  // namespace understudy::control

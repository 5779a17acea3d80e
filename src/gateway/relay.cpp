#include "gateway/relay.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace understudy::gateway {

namespace asio = boost::asio;

namespace {

bool try_again(int code) {
  return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

// Takes bytes out of the kernel's buffer that were looked at and sent on.
bool discard(int fd, std::size_t size) {
  while (size > 0) {
    const ssize_t count = ::recv(fd, nullptr, size, MSG_TRUNC | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

bool is_broken(int fd) {
  pollfd state{fd, 0, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace

void cut(asio::ip::tcp::socket& socket) {
  if (!socket.is_open()) return;
  const linger at_once{1, 0};
  ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  boost::system::error_code ignored;
  socket.close(ignored);
}

Relay::Relay(Socket client, Socket upstream, Scratch& scratch, Ended ended)
    : client_(std::move(client)),
      upstream_(std::move(upstream)),
      scratch_(scratch),
      ended_(std::move(ended)) {
  directions_[0].from = directions_[1].to = &client_;
  directions_[0].to = directions_[1].from = &upstream_;
}

void Relay::start() {
  for (Direction& direction : directions_) wait_readable(direction);
}

void Relay::stop() {
  ended_ = nullptr;
  cut(client_);
  cut(upstream_);
}

void Relay::wait_readable(Direction& direction) {
  direction.from->async_wait(Socket::wait_read,
                             [self = shared_from_this(), &direction](boost::system::error_code error) {
                               if (!error && direction.from->is_open()) self->pass_on(direction);
                             });
}

void Relay::wait_writable(Direction& direction) {
  direction.to->async_wait(Socket::wait_write,
                           [self = shared_from_this(), &direction](boost::system::error_code error) {
                             if (!error && direction.to->is_open()) self->pass_on(direction);
                           });
}

void Relay::pass_on(Direction& direction) {
  if (!direction.from->is_open() || !direction.to->is_open()) return;
  const int from = direction.from->native_handle();
  const ssize_t count = ::recv(from, scratch_.data(), scratch_.size(), MSG_PEEK | MSG_DONTWAIT);
  if (count < 0) return try_again(errno) ? wait_readable(direction) : broke();
  if (count == 0) return end(direction);
  const auto size = static_cast<std::size_t>(count);
  const ssize_t sent =
      ::send(direction.to->native_handle(), scratch_.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) return try_again(errno) ? wait_writable(direction) : broke();
  if (!discard(from, static_cast<std::size_t>(sent))) return broke();
  if (static_cast<std::size_t>(sent) < size) return wait_writable(direction);
  wait_readable(direction);
}

void Relay::end(Direction& direction) {
  direction.ended = true;
  boost::system::error_code error;
  direction.to->shutdown(Socket::shutdown_send, error);
  if (error) return broke();
  if (directions_[0].ended && directions_[1].ended) return report(false);
  watch_for_break(direction);
}

// Whoever has ended his own direction is read no more, and may still break off: a client that gave up waiting
// for its answer, or one whose host is gone (the kernel's keepalive finds out).
void Relay::watch_for_break(Direction& direction) {
  direction.from->async_wait(Socket::wait_error,
                             [self = shared_from_this(), &direction](boost::system::error_code error) {
                               if (error || !direction.from->is_open()) return;
                               const int from = direction.from->native_handle();
                               if (is_broken(from)) return self->broke();
                               // Urgent data, which would wake us again and again. No more can come after its
                               // end.
                               char byte = 0;
                               if (::recv(from, &byte, 1, MSG_OOB | MSG_DONTWAIT) > 0)
                                 self->watch_for_break(direction);
                             });
}

void Relay::broke() {
  cut(client_);
  cut(upstream_);
  report(true);
}

void Relay::report(bool was_broken) {
  if (!ended_) return;
  const Ended ended = std::exchange(ended_, nullptr);
  boost::system::error_code ignored;
  client_.close(ignored);
  upstream_.close(ignored);
  ended(shared_from_this(), was_broken);
}

}  // namespace understudy::gateway

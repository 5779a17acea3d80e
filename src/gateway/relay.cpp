#include "gateway/relay.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace understudy::gateway {

namespace asio = boost::asio;

namespace {

bool try_again(int code) {
  return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
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
                               if (!error && direction.from->is_open()) self->read(direction);
                             });
}

void Relay::read(Direction& direction) {
  const ssize_t count =
      ::recv(direction.from->native_handle(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
  if (count < 0) return try_again(errno) ? wait_readable(direction) : broke();
  if (count == 0) return end(direction);
  const auto size = static_cast<std::size_t>(count);
  const ssize_t sent =
      ::send(direction.to->native_handle(), scratch_.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && !try_again(errno)) return broke();
  const std::size_t gone = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  if (gone == size) return wait_readable(direction);
  direction.unsent.assign(scratch_.begin() + static_cast<std::ptrdiff_t>(gone),
                          scratch_.begin() + static_cast<std::ptrdiff_t>(size));
  direction.sent = 0;
  wait_writable(direction);
}

void Relay::wait_writable(Direction& direction) {
  direction.to->async_wait(Socket::wait_write,
                           [self = shared_from_this(), &direction](boost::system::error_code error) {
                             if (!error && direction.to->is_open()) self->flush(direction);
                           });
}

void Relay::flush(Direction& direction) {
  const ssize_t sent = ::send(direction.to->native_handle(), direction.unsent.data() + direction.sent,
                              direction.unsent.size() - direction.sent, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) return try_again(errno) ? wait_writable(direction) : broke();
  direction.sent += static_cast<std::size_t>(sent);
  if (direction.sent < direction.unsent.size()) return wait_writable(direction);
  std::vector<std::byte>().swap(direction.unsent);  // an idle connection holds no buffer
  wait_readable(direction);
}

void Relay::end(Direction& direction) {
  direction.ended = true;
  boost::system::error_code error;
  direction.to->shutdown(Socket::shutdown_send, error);
  if (error) return broke();
  if (directions_[0].ended && directions_[1].ended) report(false);
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

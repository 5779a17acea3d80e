#include "gateway/listener.hpp"

#include "config/listen_address.hpp"
#include "gateway/limits.hpp"
#include "gateway/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <sstream>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

std::string text_of(const Listener::Endpoint& endpoint) {
  std::ostringstream out;
  out << endpoint;
  return out.str();
}

namespace {

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof(value));
}

bool is_listening(int fd) {
  int listens = 0;
  socklen_t size = sizeof listens;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
}

Error cannot_listen(const Listener::Endpoint& endpoint, const error_code& error) {
  std::string advice = "choose another address";
  if (error == asio::error::address_in_use) {
    advice = fmt::format("see by whom (ss -ltnp 'sport = :{}') and end it, or choose another port",
                         endpoint.port());
  } else if (error == asio::error::access_denied) {
    advice = "choose a port from 1024, or run as root";
  }
  return {fmt::format("cannot listen on {}: {}; {}", text_of(endpoint), error.message(), advice)};
}

}  // namespace

Listener::Listener(asio::io_context& loop, std::string app, ConnectionBudget& budget, Accepted accepted)
    : loop_(loop),
      app_(std::move(app)),
      budget_(budget),
      party_(budget.join()),
      accepted_(std::move(accepted)),
      acceptor_(loop),
      pause_timer_(loop),
      self_(std::make_shared<Listener*>(this)) {}

Result<void> Listener::bind(const Endpoint& endpoint, UniqueFd bound) {
  error_code error;
  const bool listens = bound && is_listening(bound.get());
  if (!bound) {
    auto socket = config::bound_socket({endpoint.address().to_string(), endpoint.port()});
    if (!socket) error.assign(socket.error(), boost::system::system_category());
    if (socket) bound = *std::move(socket);
  }
  if (!error) acceptor_.assign(endpoint.protocol(), bound.release(), error);
  if (error) {
    error_code ignored;
    acceptor_.close(ignored);
    return tl::unexpected(cannot_listen(endpoint, error));
  }
  endpoint_ = acceptor_.local_endpoint(error);
  if (listens) {  // clients may be waiting
    open_ = true;
    wait();
    return {};
  }
  // Bound with the leave to reuse what an earlier gateway left in TIME_WAIT; kept without it, so that nobody
  // who has that leave too can take the port before it is listened on.
  set_option(acceptor_.native_handle(), SOL_SOCKET, SO_REUSEADDR, 0);
  return {};
}

UniqueFd Listener::copy() {
  return is_bound() ? UniqueFd(::fcntl(acceptor_.native_handle(), F_DUPFD_CLOEXEC, 0)) : UniqueFd();
}

Result<void> Listener::open() {
  if (open_) return {};
  if (!is_bound()) return failure(fmt::format("{} has given up its address and has no other yet", app_));
  const int fd = acceptor_.native_handle();
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);  // accepted sockets inherit it
  error_code error;
  acceptor_.listen(kBacklog, error);
  if (error) {
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0);
    return tl::unexpected(cannot_listen(endpoint_, error));
  }
  open_ = true;
  wait();
  return {};
}

void Listener::close() {
  if (!open_) return;
  open_ = false;
  paused_.clear();
  pause_timer_.cancel();
  const int fd = acceptor_.native_handle();
  // On Linux this takes a listening socket back to a bound one; what waits in its backlog is reset.
  ::shutdown(fd, SHUT_RDWR);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0);
}

void Listener::release() {
  close();
  ++binding_;
  waiting_ = false;
  error_code ignored;
  acceptor_.close(ignored);
  endpoint_ = {};
}

void Listener::wait() {
  if (std::exchange(waiting_, true)) return;
  acceptor_.async_wait(asio::socket_base::wait_read,
                       [weak = std::weak_ptr<Listener*>(self_), binding = binding_](error_code error) {
                         const auto self = weak.lock();
                         if (!self || (*self)->binding_ != binding) return;
                         (*self)->waiting_ = false;
                         if (!error) (*self)->accept_some();
                       });
}

void Listener::accept_some() {
  if (!open_ || !paused_.empty()) return;
  for (int i = 0; i < kAcceptsPerWake; ++i) {
    if (!accept_one()) break;
    if (!open_) return;
  }
  if (paused_.empty()) wait();
}

bool Listener::accept_one() {
  if (!budget_.take(*party_)) {
    pause(
        fmt::format("all of the {} connections that it may have are in use (of {} in all, some are kept for "
                    "other applications)",
                    party_->used, budget_.most()),
        true);
    return false;
  }
  ConnectionShare share(budget_, party_);
  const int fd = ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE,
               1);  // the application cannot see a client that is gone, only we can
    Socket socket(loop_);
    error_code error;
    socket.assign(endpoint_.protocol(), fd, error);
    if (error) {
      ::close(fd);
      return true;
    }
    accepted_(std::move(socket), std::move(share));
    return true;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINVAL) return false;  // EINVAL: closed meanwhile
  if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
    pause(std::strerror(errno), false);
    return false;
  }
  return true;  // this client's own failure, such as a connection that it broke off again
}

void Listener::pause(std::string why, bool until_room) {
  const auto now = std::chrono::steady_clock::now();
  if (said_.time_since_epoch().count() == 0 || now - said_ > kSayAgain) {
    said_ = now;
    say(fmt::format("{}: no new connections for now: {}", app_, why));
  }
  paused_ = std::move(why);
  const std::weak_ptr<Listener*> weak(self_);
  const auto go_on = [weak] {
    if (const auto self = weak.lock()) (*self)->resume();
  };
  if (until_room) {
    budget_.when_there_is_room([&loop = loop_, go_on] { asio::post(loop, go_on); });
    return;
  }
  pause_timer_.expires_after(kAcceptPause);
  pause_timer_.async_wait([go_on](error_code error) {
    if (!error) go_on();
  });
}

void Listener::resume() {
  if (!open_ || paused_.empty()) return;
  paused_.clear();
  accept_some();
}

}  // namespace understudy::gateway

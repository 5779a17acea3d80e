#include "gateway/path_check.hpp"

#include "base/shown.hpp"
#include "gateway/limits.hpp"
#include "gateway/listening.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

std::shared_ptr<PathCheck> PathCheck::start(asio::io_context& loop, Way way, milliseconds settled,
                                            Handlers handlers) {
  std::shared_ptr<PathCheck> check(new PathCheck(loop, std::move(way), std::move(handlers)));
  check->connect(settled);
  return check;
}

PathCheck::PathCheck(asio::io_context& loop, Way way, Handlers handlers)
    : socket_(loop), settled_(loop), watched_(loop), way_(std::move(way)), handlers_(std::move(handlers)) {}

void PathCheck::stop() {
  handlers_ = {};
  settled_.cancel();
  watched_.cancel();
  error_code ignored;
  socket_.close(ignored);  // orderly: a server that logs resets has none to log
}

void PathCheck::connect(milliseconds settled) {
  watched_.expires_after(kLongestAttempt);
  watched_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->refuse("QEMU's forward to it takes no connection");
  });
  auto socket = way_.network.tcp_socket(AF_INET);
  error_code refused;
  if (socket) socket_.assign(asio::ip::tcp::v4(), socket->get(), refused);
  if (!socket || refused) {
    const std::string why = socket ? refused.message() : socket.error().message;
    return asio::post(socket_.get_executor(), [self = shared_from_this(), why] {
      self->refuse("QEMU's forward to it cannot be reached: " + why);
    });
  }
  (void)socket->release();
  socket_.async_connect({asio::ip::address_v4::loopback(), way_.host_port}, [self = shared_from_this(),
                                                                             settled](error_code error) {
    if (error == asio::error::operation_aborted) return;
    if (error) return self->refuse("QEMU's forward to it takes no connection: " + error.message());
    const Way& way = self->way_;
    if (way.owner && who_listens(way.network, way.host_port) != way.owner)
      return self->refuse(
          fmt::format("not its QEMU, but somebody else listens at 127.0.0.1:{}", way.host_port));
    self->wait(settled);
  });
}

void PathCheck::wait(milliseconds settled) {
  settled_.expires_after(settled);
  settled_.async_wait([self = shared_from_this()](error_code error) {
    const auto open = self->handlers_.open;  // it may stop this
    if (!error && open) open();
  });
  watched_.expires_after(kPathWatch);
  watched_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->stop();  // it stayed open
  });
  read();
}

void PathCheck::read() {
  socket_.async_read_some(
      asio::buffer(chunk_), [self = shared_from_this()](error_code error, std::size_t count) {
        if (error == asio::error::operation_aborted) return;
        if (error) return self->ended();
        self->heard_.append(self->chunk_.data(), std::min(count, kMostHeardBytes - self->heard_.size()));
        self->read();
      });
}

void PathCheck::ended() {
  const std::string line = shown(heard_.substr(0, heard_.find_first_of("\r\n")), kMostHeardBytes);
  if (!line.empty()) {
    return refuse(
        fmt::format("it answers a connection from outside of its guest with \"{}\" and closes it; let it "
                    "serve clients that come from other addresses",
                    line));
  }
  refuse(
      fmt::format("a connection to its port {} from outside of its guest is closed at once; it may listen on "
                  "127.0.0.1 only (let it listen on 0.0.0.0), on another port, or turn strangers away",
                  way_.guest_port));
}

void PathCheck::refuse(const std::string& why) {
  const auto refused = std::exchange(handlers_, {}).refused;
  stop();
  if (refused) refused(why);
}

}  // namespace understudy::gateway

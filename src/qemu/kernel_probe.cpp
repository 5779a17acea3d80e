#include "qemu/kernel_probe.hpp"

#include "base/units.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

namespace asio = boost::asio;

namespace {

class KernelProbe final : public std::enable_shared_from_this<KernelProbe> {
 public:
  KernelProbe(asio::io_context& loop, Duration limit, std::function<void(KernelAnswer)> done)
      : socket_(loop), timer_(loop), limit_(limit), done_(std::move(done)) {}

  void start(const ProcessNetwork& network, std::uint16_t host_port) {
    started_ = std::chrono::steady_clock::now();
    timer_.expires_after(limit_);
    timer_.async_wait([self = shared_from_this()](auto error) {
      if (!error) self->finish({false, "no answer from the kernel within " + format_duration(self->limit_)});
    });
    auto socket = network.tcp_socket(AF_INET);
    boost::system::error_code refused;
    if (socket) socket_.assign(asio::ip::tcp::v4(), socket->get(), refused);
    if (!socket || refused) {
      const std::string why = socket ? refused.message() : socket.error().message;
      return asio::post(socket_.get_executor(), [self = shared_from_this(), why] {
        self->finish({false, "it cannot be asked: " + why});
      });
    }
    (void)socket->release();
    socket_.async_connect({asio::ip::address_v4::loopback(), host_port},
                          [self = shared_from_this()](auto error) { self->connected(error); });
  }

 private:
  void connected(const boost::system::error_code& error) {
    if (!done_) return;
    // Nobody listens: that is QEMU's doing, and says nothing good about the kernel.
    if (error) return finish({false, "QEMU takes no packets for the kernel (" + error.message() + ")"});
    socket_.async_read_some(asio::buffer(byte_), [self = shared_from_this()](auto read_error, std::size_t) {
      if (read_error == asio::error::operation_aborted || !self->done_) return;
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - self->started_;
      self->finish({true, fmt::format("the kernel answered a packet in {:.1f} ms", took.count())});
    });
  }

  void finish(KernelAnswer answer) {
    const auto done = std::exchange(done_, {});
    boost::system::error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    if (done) done(std::move(answer));
  }

  asio::ip::tcp::socket socket_;
  asio::steady_timer timer_;
  Duration limit_;
  std::function<void(KernelAnswer)> done_;
  std::chrono::steady_clock::time_point started_;
  std::array<char, 1> byte_{};
};

}  // namespace

void probe_kernel(asio::io_context& loop, const ProcessNetwork& network, std::uint16_t host_port,
                  Duration limit, std::function<void(KernelAnswer)> done) {
  std::make_shared<KernelProbe>(loop, limit, std::move(done))->start(network, host_port);
}

}  // namespace understudy::qemu

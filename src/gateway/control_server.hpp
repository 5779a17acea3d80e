#pragma once

#include "base/error.hpp"
#include "gateway/services.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <set>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::gateway {

// The gateway's control socket: requests in, one answer for each, in order; docs/gateway.md. It outlives
// every daemon that connects to it.
class ControlServer {
 public:
  using Quit = std::function<void()>;

  // Listens on `socket` (mode 0600), in place of one that nobody answers on any more. `quit` is called once
  // the answer to such a request was given to the kernel.
  [[nodiscard]] static Result<std::unique_ptr<ControlServer>> create(boost::asio::io_context& loop,
                                                                     Services& services,
                                                                     const std::filesystem::path& socket,
                                                                     Quit quit);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  class Session;
  using Local = boost::asio::local::stream_protocol;

  ControlServer(boost::asio::io_context& loop, Services& services, std::filesystem::path socket, Quit quit);
  void accept();

  Services& services_;
  std::filesystem::path path_;
  Quit quit_;
  Local::acceptor acceptor_;
  boost::asio::steady_timer pause_timer_;
  std::set<std::shared_ptr<Session>> sessions_;
};

}  // namespace understudy::gateway

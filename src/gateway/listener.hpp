#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "gateway/connection_budget.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::gateway {

// An application's address. Closed, it stays bound: connections are refused by the kernel and nobody else can
// take the port meanwhile. When the process runs out of descriptors it stops accepting for a while and says
// so; clients then wait in the kernel's backlog.
class Listener {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Endpoint = boost::asio::ip::tcp::endpoint;
  using Accepted = std::function<void(Socket, ConnectionShare)>;

  Listener(boost::asio::io_context& loop, std::string app, ConnectionBudget& budget, Accepted accepted);

  // With a socket that is bound to it already, which is taken in the state that it is in.
  [[nodiscard]] Result<void> bind(const Endpoint& endpoint, UniqueFd bound = {});
  [[nodiscard]] Result<void> open();
  void close();
  void release();  // not even bound any more; bind() may follow
  [[nodiscard]] bool is_bound() const { return acceptor_.is_open(); }
  // A copy of its socket, which is the same socket in all that it does; none: it is not bound.
  [[nodiscard]] UniqueFd copy();
  [[nodiscard]] bool is_open() const { return open_; }
  [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] const std::string& paused() const { return paused_; }  // why; empty: it accepts

 private:
  void wait();
  void accept_some();
  [[nodiscard]] bool accept_one();  // whether there may be another
  void pause(std::string why, bool until_room);
  void resume();

  boost::asio::io_context& loop_;
  std::string app_;
  ConnectionBudget& budget_;
  std::shared_ptr<ConnectionBudget::Party> party_;
  Accepted accepted_;
  Endpoint endpoint_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_timer_;
  bool open_ = false;
  bool waiting_ = false;       // for the socket to be readable; survives close() and open()
  std::uint64_t binding_ = 0;  // handlers of a socket that was released are told apart by it
  std::string paused_;
  std::chrono::steady_clock::time_point said_{};
  std::shared_ptr<Listener*> self_;  // handlers hold it weakly: they may come when this is gone
};

// "127.0.0.1:6379", "[::1]:6379".
[[nodiscard]] std::string text_of(const Listener::Endpoint& endpoint);

}  // namespace understudy::gateway

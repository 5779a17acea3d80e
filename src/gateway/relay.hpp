#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

namespace understudy::gateway {

// Ends a connection so that its peer notices at once: a reset instead of an orderly end, and what was not
// sent yet is not sent any more.
void cut(boost::asio::ip::tcp::socket& socket);

// One client's connection and one to the application, bytes handed on in both directions. An end in one
// direction is passed on and the other direction lives on, watched.
//
// Nothing is kept here: bytes are looked at where the kernel has them (MSG_PEEK), sent on, and only as many
// taken out as the receiver took. So what clients can make this process hold is bounded whatever the number
// of its connections; a receiver that does not read fills the kernel's buffers, and the sender's window
// closes.
class Relay : public std::enable_shared_from_this<Relay> {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  // One buffer for all of them: nothing in it outlives a handler.
  using Scratch = std::vector<std::byte>;
  // `ended` is called once, when both directions are at their end or the connection broke; not after stop().
  using Ended = std::function<void(const std::shared_ptr<Relay>&, bool broke)>;

  Relay(Socket client, Socket upstream, Scratch& scratch, Ended ended);
  void start();
  void stop();  // cuts both connections now; no byte moves after it

 private:
  struct Direction {
    Socket* from = nullptr;
    Socket* to = nullptr;
    bool ended = false;
  };

  void wait_readable(Direction& direction);
  void wait_writable(Direction& direction);
  void pass_on(Direction& direction);
  void end(Direction& direction);
  void watch_for_break(Direction& direction);
  void broke();
  void report(bool broke);

  Socket client_;
  Socket upstream_;
  Scratch& scratch_;
  Ended ended_;
  std::array<Direction, 2> directions_;
};

}  // namespace understudy::gateway

#pragma once

#include "base/process_network.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::gateway {

// Whether a client that is led to an application would be served: one connection on the clients' way, made
// from the host through the same forward into the guest.
//
// QEMU's forward accepts every connection and only then asks the guest, so that it was accepted says nothing.
// What a guest's kernel refuses (nothing listens on the address that the forward leads to, as with a server
// on the guest's loopback alone) is closed within milliseconds, and so is one that a server turns away (Redis
// in protected mode: a line, then the end). A server that waits for its client's first word says nothing and
// stays. Nothing is sent: that word might mean something.
class PathCheck : public std::enable_shared_from_this<PathCheck> {
 public:
  using milliseconds = std::chrono::milliseconds;
  struct Handlers {
    // It has stayed open for `settled`. `refused` may still come until the whole watch is over.
    std::function<void()> open;
    // A sentence on what came of it; called once at most, and then nothing more is.
    std::function<void(const std::string&)> refused;
  };
  struct Way {
    std::uint16_t host_port = 0;
    std::uint16_t guest_port = 0;          // for the sentence
    std::optional<std::uint32_t> owner{};  // who has to listen there; none: anybody
    ProcessNetwork network{};              // in which the port is
  };
  // Handlers are called from the loop, until stop().
  [[nodiscard]] static std::shared_ptr<PathCheck> start(boost::asio::io_context& loop, Way way,
                                                        milliseconds settled, Handlers handlers);
  void stop();

 private:
  PathCheck(boost::asio::io_context& loop, Way way, Handlers handlers);
  void connect(milliseconds settled);
  void wait(milliseconds settled);
  void read();
  void ended();
  void refuse(const std::string& why);

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer settled_;
  boost::asio::steady_timer watched_;
  Way way_;
  Handlers handlers_;
  std::array<char, 512> chunk_{};
  std::string heard_;
};

}  // namespace understudy::gateway

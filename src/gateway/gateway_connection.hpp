#pragma once

#include "base/error.hpp"
#include "gateway/control_link.hpp"
#include "gateway/gateway_process.hpp"
#include "gateway/kept_listeners.hpp"
#include "gateway/protocol.hpp"
#include "gateway/spawn.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::gateway {

// Sees to it that there is a gateway which knows the addresses: finds or starts it, notices when it ends or
// hangs, and starts another. Nothing here waits once start() has returned: each step of a new gateway's
// coming (its end, its first word, its answers) is an event of the loop.
//
// One that answers nothing for kPingLimit hangs. It is killed when it is proven to be ours, and left alone,
// said, when it is not. Its clients' connections end with it: they hung as well. Its addresses do not: they
// are kept for the next.
class GatewayConnection {
 public:
  struct Files {
    std::filesystem::path program;  // understands --gateway SOCKET
    std::filesystem::path socket;
    std::filesystem::path log;
  };
  struct Handlers {
    std::function<void()> ready;                  // a gateway is there again and waits to be told the routes
    std::function<void(const Answer&)> answered;  // a request of post()
    std::function<void(const std::string&)> problem;
  };

  GatewayConnection(boost::asio::io_context& loop, Files files, std::vector<request::Listen> addresses,
                    Handlers handlers);
  ~GatewayConnection();
  GatewayConnection(const GatewayConnection&) = delete;
  GatewayConnection& operator=(const GatewayConnection&) = delete;

  // Blocks, before the loop runs, until a gateway answers and listens on every address, or says what stands
  // in the way. It forgets applications that are not ours any more; the routes that it has stay.
  [[nodiscard]] Result<void> start();
  // None: there is no gateway now, or it is being told the addresses; `ready` comes.
  [[nodiscard]] std::optional<std::uint64_t> post(const Request& request);
  // Takes answers until the one to `id` came, and returns whether it did.
  [[nodiscard]] bool take_until(std::uint64_t id, std::chrono::milliseconds limit);
  [[nodiscard]] Result<std::vector<ServiceStatus>> status(std::chrono::milliseconds limit);
  [[nodiscard]] pid_t pid() const { return pid_; }  // 0: none
  // Whether it enters the networks that a QEMU of this user gets (base/own_network.hpp).
  [[nodiscard]] bool enters_networks() const { return enters_networks_; }
  // What it had when it was found, this time.
  [[nodiscard]] const std::vector<ServiceStatus>& found() const { return found_; }
  void close();  // leaves it alone, for good

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] Result<void> connect_or_start();
  [[nodiscard]] Result<void> introduce_and_wait(bool& hangs);
  [[nodiscard]] std::vector<Request> introduction(const Answer& status);
  void listen_as_before();
  void revive();
  void revive_later();
  void await_start();
  void started(const Result<void>& said);
  void connected(ControlLink link);
  void introduce(const Answer& answer);
  void watch();
  void watch_writable();
  void take_answers();
  void take(const Answer& answer);
  std::optional<std::uint64_t> send(const Request& request);
  void tick();
  void hangs();
  void await_end(const GatewayProcess& process);
  void keep_listeners();
  void drop();
  void lost(const std::string& why);

  boost::asio::io_context& loop_;
  Files files_;
  std::vector<request::Listen> addresses_;
  Handlers handlers_;
  std::optional<ControlLink> link_;
  bool ready_ = false;                                // it knows the addresses
  std::map<std::uint64_t, std::string> introducing_;  // what it is being told, by the request's number
  std::vector<ServiceStatus> found_;
  KeptListeners listeners_;  // of the addresses, for the next gateway
  pid_t pid_ = 0;
  bool enters_networks_ = false;
  std::optional<GatewayStart> starting_;
  // Each watches a duplicate of a descriptor: the link's, the starting one's pipe, the ending one's process.
  std::unique_ptr<boost::asio::posix::stream_descriptor> readable_;
  std::unique_ptr<boost::asio::posix::stream_descriptor> first_word_;
  std::unique_ptr<boost::asio::posix::stream_descriptor> end_;
  boost::asio::steady_timer revive_timer_;
  boost::asio::steady_timer start_timer_;
  boost::asio::steady_timer ping_timer_;
  std::uint64_t last_asked_ = 0;
  std::uint64_t last_answered_ = 0;
  std::uint64_t last_ping_ = 0;
  Clock::time_point waiting_since_{};  // for the oldest answer that is due
  Clock::time_point ticked_{};
  bool writing_ = false;
  std::shared_ptr<GatewayConnection*> self_;  // handlers hold it weakly: they may come when this is gone
};

}  // namespace understudy::gateway

#pragma once

#include "base/error.hpp"
#include "base/process_network.hpp"
#include "config/config.hpp"
#include "gateway/connection_budget.hpp"
#include "gateway/limits.hpp"
#include "gateway/listener.hpp"
#include "gateway/protocol.hpp"
#include "gateway/relay.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::gateway {

// Where an address leads.
struct Upstream {
  boost::asio::ip::tcp::endpoint endpoint;
  std::optional<std::uint32_t> owner{};  // clients are led there only while that user listens: listening.hpp
  std::optional<std::int32_t> pid{};     // of the process in whose network that is; none: in ours
  ProcessNetwork network{};
};

// One application's address: accepts its clients, has them wait while it is down, connects them to where it
// runs.
//
// Every accepted connection joins one queue and leaves it at the front, connected or, after its wait limit,
// reset: so those who waited are served in the order in which they came, and one attempt is under way at a
// time. A route or its withdrawal starts a new generation; an attempt of an older one is dropped, whatever
// came of it.
class Service {
 public:
  using Endpoint = boost::asio::ip::tcp::endpoint;

  // What the services of a gateway share. Outlives them.
  struct Shared {
    boost::asio::io_context& loop;
    ConnectionBudget& budget;
    Relay::Scratch& scratch;
  };

  Service(const Shared& shared, std::string app);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // `bound`: see Listener.
  [[nodiscard]] Result<void> listen(const Endpoint& endpoint, UniqueFd bound = {});
  // Gives the address up; clients that are connected or wait stay.
  void release() { listener_.release(); }
  // The same application at another address. An address that includes the former one (127.0.0.1 and 0.0.0.0)
  // can be had only when that has been given up; it is taken back when the new one cannot be had.
  [[nodiscard]] Result<void> move_to(const Endpoint& endpoint, config::WhileDown while_down,
                                     std::chrono::milliseconds wait_limit);
  // While down, `wait` holds clients up to the limit; `refuse` closes the address, so that they are refused.
  [[nodiscard]] Result<void> set_while_down(config::WhileDown while_down,
                                            std::chrono::milliseconds wait_limit);
  // To where it leads already: changes nothing but the owner.
  [[nodiscard]] Result<void> route(Upstream upstream);
  // When it returns, every connection to the former upstream is reset and no byte goes there any more.
  void withdraw();

  [[nodiscard]] const Endpoint& address() const { return listener_.endpoint(); }
  [[nodiscard]] ServiceStatus status() const;
  [[nodiscard]] UniqueFd copy_of_listener() { return listener_.copy(); }

 private:
  using Socket = boost::asio::ip::tcp::socket;
  using Clock = std::chrono::steady_clock;

  struct Waiting {
    Socket client;
    ConnectionShare share;
    Clock::time_point since;
  };
  struct Connected {
    std::shared_ptr<Relay> relay;
    ConnectionShare share;
  };
  struct Attempt {  // to connect the client at the front of the queue
    Socket socket;
    boost::asio::steady_timer timer;
    std::chrono::milliseconds limit;
  };

  void accepted(Socket client, ConnectionShare share);
  void make_room();
  void connect_next();
  void attempt(std::chrono::milliseconds limit);
  void attempt_done(const std::shared_ptr<Attempt>& attempt, const boost::system::error_code& error);
  [[nodiscard]] bool is_its_owners();
  void complain(const std::string& text);
  void try_again(std::chrono::milliseconds limit, std::chrono::milliseconds pause = kRetryPause);
  void drop_attempt();
  void relay(Socket upstream);
  void expire();
  void watch_limit();
  void reset_waiting();

  Shared shared_;
  std::string app_;
  config::WhileDown while_down_ = config::WhileDown::wait;
  std::chrono::milliseconds wait_limit_{0};
  std::optional<Upstream> upstream_;
  Clock::time_point complained_{};
  std::uint64_t generation_ = 0;
  std::deque<Waiting> waiting_;
  std::shared_ptr<Attempt> attempt_;
  boost::asio::steady_timer retry_timer_;
  boost::asio::steady_timer limit_timer_;
  std::unordered_map<const Relay*, Connected> connected_;
  std::uint64_t served_ = 0;
  std::uint64_t cut_ = 0;
  Clock::time_point room_made_{};
  std::shared_ptr<Service*> self_;  // handlers hold it weakly: they may come when this is gone
  Listener listener_;
};

}  // namespace understudy::gateway

#pragma once

#include "link/agent_links.hpp"
#include "link/interpreter.hpp"
#include "link/rate_limit.hpp"
#include "link/requests.hpp"
#include "protocol/line_reader.hpp"

#include <array>
#include <deque>
#include <optional>
#include <set>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::link {

// One line: connects, reads within bounds, greets, keeps what is unanswered, writes without ever blocking.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::io_context& io, const config::Config& config, core::GuestRun run, RunView view,
             std::filesystem::path socket, std::shared_ptr<const engine::EventSink> sink,
             std::shared_ptr<const Heard> heard);

  void open() { connect(); }
  void close();

  [[nodiscard]] bool greeted() const { return session_.has_value(); }
  [[nodiscard]] Requests& requests() { return requests_; }

  // Kept until it is answered, and sent as soon as the agent has greeted.
  void request(const protocol::ToAgent& message);
  // Sent now or not at all.
  bool send(const protocol::ToAgent& message);
  // Sent now or not at all; its first answer on this connection is handed on.
  bool ask_tail(protocol::AppNumber app, std::size_t bytes);
  // From the loop, unless the line is closed by then.
  void post(core::Event event);
  void log(const std::string& text);

 private:
  using Socket = boost::asio::local::stream_protocol::socket;

  void connect();
  void connected();
  void read();
  void read_on_after_debt(std::size_t bytes);
  void take(std::string_view bytes);
  void on_line(std::string_view line);
  void on_message(const protocol::FromAgent& message);
  void on_hello(const protocol::from_agent::Hello& message);
  void misbehaved(const std::string& what);
  void put(std::string line);
  void write();
  void lost(const std::string& why);
  void connect_later();

  boost::asio::io_context& io_;
  core::GuestRun run_;
  std::filesystem::path path_;
  std::shared_ptr<const engine::EventSink> sink_;
  std::shared_ptr<const Heard> heard_;
  Socket socket_;
  boost::asio::steady_timer timer_;  // to connect again, or to go on reading
  bool closed_ = false;
  bool trouble_told_ = false;  // that it cannot connect; once
  std::uint64_t attempt_ = 0;  // handlers of a former connection are told apart by it

  RunView view_;
  Interpreter interpreter_;
  Requests requests_;
  protocol::LineReader reader_;
  bool first_line_ = true;                // it may be the end of one that a former connection began
  std::optional<std::uint64_t> session_;  // of the agent that has greeted on this connection
  std::set<protocol::AppNumber> tails_asked_;
  TokenBucket messages_;
  TokenBucket bytes_;
  TokenBucket hellos_;
  Occasionally tell_misbehaved_{AgentLinks::kMisbehavedInterval};

  std::array<char, 4096> buffer_;
  std::deque<std::string> queue_;
  std::size_t queued_bytes_ = 0;
  bool writing_ = false;
};

}  // namespace understudy::link

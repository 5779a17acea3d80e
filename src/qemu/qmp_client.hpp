#pragma once

#include "base/error.hpp"
#include "base/time.hpp"
#include "base/unique_fd.hpp"
#include "qemu/qmp_codec.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

struct QmpError {
  enum class Kind {
    refused,  // QEMU answered with an error: the command did nothing
    late,     // no answer within its limit: it may still happen
    lost,     // the connection ended before the answer: it may have happened
  };
  Kind kind = Kind::refused;
  std::string error_class;  // of refused
  std::string message;      // "object-add: Can't open backing store ..."
};
using QmpReply = tl::expected<boost::json::value, QmpError>;

// One connection to a QEMU's monitor. Commands are sent as they come, without waiting for earlier answers;
// QEMU performs and answers them in order, and so their callbacks run. Used from the loop's thread; nothing
// is called from inside execute(), connect() or close().
class QmpClient final : public std::enable_shared_from_this<QmpClient> {
 public:
  struct Handlers {
    std::function<void()> ready;  // greeted and out of negotiation: execute() may be called
    std::function<void(const QmpEvent&)> event;
    std::function<void(const std::string& why)> lost;  // once; after the callbacks of what was pending
  };
  using Callback = std::function<void(QmpReply)>;

  // The socket must be listening already (we make it ourselves and hand it to QEMU); the greeting may take as
  // long as QEMU takes to start.
  [[nodiscard]] static Result<std::shared_ptr<QmpClient>> connect(boost::asio::io_context& loop,
                                                                  const std::filesystem::path& socket,
                                                                  Handlers handlers);

  // Each command is answered exactly once: by QEMU, by its limit, or by the loss of the connection.
  void execute(std::string_view command, boost::json::object arguments, Duration limit, Callback callback);

  // The same with a descriptor for QEMU, which gets a copy of its own (`getfd`).
  void execute_with(UniqueFd descriptor, std::string_view command, boost::json::object arguments,
                    Duration limit, Callback callback);

  // Ends the connection; no handler or callback is called any more. To be called before letting go of it.
  void close();

  [[nodiscard]] bool ready() const { return state_ == State::ready; }

 private:
  enum class State { negotiating, ready, lost, closed };
  using Clock = std::chrono::steady_clock;
  struct Pending {
    std::string command;
    Clock::time_point deadline;
    Duration limit;
    Callback callback;
  };

  QmpClient(boost::asio::io_context& loop, Handlers handlers);
  void send(std::string_view command, const boost::json::object& arguments, Duration limit, Callback callback,
            UniqueFd descriptor = UniqueFd());
  void read();
  void write();
  void write_with_descriptor();
  void write_rest();
  void received(std::size_t bytes);
  void handle(const QmpGreeting& greeting);
  void handle(QmpReturn& reply);
  void handle(const QmpErrorReply& reply);
  void handle(const QmpEvent& event);
  void answer(std::uint64_t id, QmpReply reply);
  void arm_timer();
  void expire();
  void lose(const std::string& why);

  boost::asio::local::stream_protocol::socket socket_;
  boost::asio::steady_timer timer_;
  Handlers handlers_;
  State state_ = State::negotiating;
  QmpCodec codec_;
  std::array<char, 16384> input_{};
  // A descriptor travels with the first byte of its command, so such a command is written by itself.
  struct Output {
    std::string text;
    UniqueFd descriptor;
  };
  std::deque<Output> output_;  // not yet handed to the kernel
  Output writing_;             // being written
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, Pending> pending_;  // in the order sent
};

}  // namespace understudy::qemu

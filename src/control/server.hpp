#pragma once

#include "control/command.hpp"
#include "control/event_log.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio.hpp>
#include <boost/json.hpp>

namespace understudy::control {

// Listens on the control socket (mode 0600). A request is one line, the answer another:
//   {"ok":true,"result":…} or {"ok":false,"error":"what, and what to do"}.
// `events` answers with one line per event instead, until the client leaves when it follows.
//
// Whoever connects cannot harm what else the daemon does: there are so many sessions at once, one that says
// nothing or does not read is ended, one answer is read before the next request is, and the last descriptors
// of the process are not for them. Out of descriptors, it waits a moment before it accepts again.
class Server {
 public:
  // Answers everything but Events, on the loop's thread.
  using Handler = std::function<Result<boost::json::value>(const Command&)>;

  static constexpr std::size_t kMostSessions = 64;
  // One that reads too slowly to keep up with this much is cut off; it can ask again.
  static constexpr std::size_t kMostQueuedLines = 10'000;
  static constexpr std::size_t kMostQueuedBytes = 8UL << 20;
  // All events in memory, and as many again meanwhile.
  static_assert(2 * EventLog::kMostEvents <= kMostQueuedLines);
  static_assert(2 * EventLog::kMostEventBytes <= kMostQueuedBytes);
  struct Limits {
    // For a request to come, and for an answer to be read; not for events to follow, nor for `down` to end.
    std::chrono::milliseconds idle = std::chrono::seconds(30);
    std::chrono::milliseconds accept_pause = std::chrono::milliseconds(200);
  };

  [[nodiscard]] static Result<std::unique_ptr<Server>> create(boost::asio::io_context& io,
                                                              const std::filesystem::path& socket,
                                                              EventLog& log, Handler handler, Limits limits);
  [[nodiscard]] static Result<std::unique_ptr<Server>> create(boost::asio::io_context& io,
                                                              const std::filesystem::path& socket,
                                                              EventLog& log, Handler handler);
  ~Server();

 private:
  class Session;
  Server(boost::asio::io_context& io, EventLog& log, Handler handler, Limits limits);
  void accept();
  void accept_later();
  [[nodiscard]] std::string no_room(int descriptor);

  boost::asio::local::stream_protocol::acceptor acceptor_;
  boost::asio::steady_timer pause_timer_;
  EventLog& log_;
  Handler handler_;
  Limits limits_;
  std::vector<std::weak_ptr<Session>> sessions_;
};

}  // namespace understudy::control

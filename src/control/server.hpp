#pragma once

#include "control/command.hpp"
#include "control/event_log.hpp"

#include <filesystem>
#include <functional>
#include <memory>

#include <boost/asio.hpp>
#include <boost/json.hpp>

namespace understudy::control {

// Listens on the control socket (mode 0600). A request is one line, the answer another:
//   {"ok":true,"result":…} or {"ok":false,"error":"what, and what to do"}.
// `events` answers with one line per event instead, until the client leaves when it follows.
class Server {
 public:
  // Answers everything but Events, on the loop's thread.
  using Handler = std::function<Result<boost::json::value>(const Command&)>;

  [[nodiscard]] static Result<std::unique_ptr<Server>> create(boost::asio::io_context& io,
                                                              const std::filesystem::path& socket,
                                                              EventLog& log, Handler handler);
  ~Server();

 private:
  class Session;
  Server(boost::asio::io_context& io, EventLog& log, Handler handler);
  void accept();

  boost::asio::local::stream_protocol::acceptor acceptor_;
  EventLog& log_;
  Handler handler_;
};

}  // namespace understudy::control

#include "control/server.hpp"

#include <sys/stat.h>

#include <deque>

namespace understudy::control {

namespace {

namespace asio = boost::asio;
namespace json = boost::json;

// A follower that reads too slowly to keep up with this many events is cut off; it can ask again.
constexpr std::size_t kMostQueuedLines = 10'000;

std::string answer_line(const Result<json::value>& answer) {
  json::object object;
  if (answer) {
    object = {{"ok", true}, {"result", *answer}};
  } else {
    object = {{"ok", false}, {"error", answer.error().message}};
  }
  return json::serialize(object) + "\n";
}

}  // namespace

class Server::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(asio::local::stream_protocol::socket socket, EventLog& log, const Handler& handler)
      : socket_(std::move(socket)), log_(log), handler_(handler), buffer_(kLongestRequestBytes) {}

  void read() {
    asio::async_read_until(socket_, buffer_, '\n', [self = shared_from_this()](auto error, std::size_t size) {
      if (error == asio::error::not_found) {
        self->last_ = true;
        self->send(answer_line(
            failure("the request is longer than " + std::to_string(kLongestRequestBytes) + " bytes")));
        return;
      }
      if (error) {
        self->follows_ = false;
        return;
      }
      const auto data = self->buffer_.data();
      const std::string line(asio::buffers_begin(data),
                             asio::buffers_begin(data) + static_cast<std::ptrdiff_t>(size - 1));
      self->buffer_.consume(size);
      self->serve(line);
      self->read();
    });
  }

 private:
  void serve(const std::string& line) {
    const Result<Command> command = decode(line);
    if (!command) {
      send(answer_line(tl::unexpected(command.error())));
    } else if (const auto* events = std::get_if<command::Events>(&*command)) {
      for (const std::string& event : log_.lines()) send(event + "\n");
      if (!events->follow) {
        last_ = true;
        send("");
      } else if (!std::exchange(follows_, true)) {
        log_.follow([weak = weak_from_this()](const std::string& event) {
          const auto self = weak.lock();
          if (self == nullptr || !self->follows_) return false;
          self->send(event + "\n");
          return true;
        });
      }
    } else {
      send(answer_line(handler_(*command)));
    }
  }

  void send(std::string line) {
    if (queue_.size() >= kMostQueuedLines) {
      boost::system::error_code ignored;
      socket_.close(ignored);
      return;
    }
    queue_.push_back(std::move(line));
    if (queue_.size() == 1) write();
  }

  void write() {
    asio::async_write(socket_, asio::buffer(queue_.front()),
                      [self = shared_from_this()](auto error, std::size_t) {
                        if (error) return;
                        self->queue_.pop_front();
                        if (!self->queue_.empty()) {
                          self->write();
                        } else if (self->last_) {
                          boost::system::error_code ignored;
                          self->socket_.shutdown(asio::socket_base::shutdown_both, ignored);
                        }
                      });
  }

  asio::local::stream_protocol::socket socket_;
  EventLog& log_;
  const Handler& handler_;
  asio::streambuf buffer_;
  std::deque<std::string> queue_;
  bool follows_ = false;
  bool last_ = false;  // close when the queue has been sent
};

Server::Server(asio::io_context& io, EventLog& log, Handler handler)
    : acceptor_(io), log_(log), handler_(std::move(handler)) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::create(asio::io_context& io, const std::filesystem::path& socket,
                                               EventLog& log, Handler handler) {
  std::unique_ptr<Server> server(new Server(io, log, std::move(handler)));
  if (socket.string().size() > 107) {
    return failure(socket.string() +
                   " is too long for a socket (107 bytes at most); choose a shorter --run-dir");
  }
  boost::system::error_code error;
  std::filesystem::remove(socket, error);
  server->acceptor_.open(asio::local::stream_protocol(), error);
  const mode_t mask = ::umask(0177);
  if (!error) server->acceptor_.bind(socket.string(), error);
  ::umask(mask);
  if (!error) server->acceptor_.listen(16, error);
  if (error) return failure("cannot listen on " + socket.string() + ": " + error.message());
  server->accept();
  return server;
}

void Server::accept() {
  acceptor_.async_accept([this](auto error, auto socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error) std::make_shared<Session>(std::move(socket), log_, handler_)->read();
    accept();
  });
}

}  // namespace understudy::control

#include "control/server.hpp"

#include "base/descriptors.hpp"

#include <sys/stat.h>

#include <deque>
#include <utility>

namespace understudy::control {

namespace {

namespace asio = boost::asio;
namespace json = boost::json;

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
  Session(asio::local::stream_protocol::socket socket, EventLog& log, const Handler& handler,
          const Limits& limits)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        log_(log),
        handler_(handler),
        idle_(limits.idle),
        buffer_(kLongestRequestBytes) {}

  void read() {
    watch();
    asio::async_read_until(socket_, buffer_, '\n', [self = shared_from_this()](auto error, std::size_t size) {
      if (error == asio::error::not_found) {
        return self->refuse("the request is longer than " + std::to_string(kLongestRequestBytes) + " bytes");
      }
      if (error) return self->end();
      const auto data = self->buffer_.data();
      const std::string line(asio::buffers_begin(data),
                             asio::buffers_begin(data) + static_cast<std::ptrdiff_t>(size - 1));
      self->buffer_.consume(size);
      self->serve(line);
      self->read_on();
    });
  }

  // An answer to whatever it may ask, and the end.
  void refuse(const std::string& why) {
    last_ = true;
    send(answer_line(failure(why)));
  }

 private:
  // Nobody can ask for more than is sent: the next request is read when all answers have been.
  void read_on() {
    reads_on_ = !queue_.empty();
    if (!reads_on_ && !last_) read();
  }

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
          return self->follows_;
        });
      }
    } else {
      waits_for_end_ = std::holds_alternative<command::Down>(*command);
      send(answer_line(handler_(*command)));
    }
  }

  void send(std::string line) {
    queued_bytes_ += line.size();
    if (queue_.size() >= Server::kMostQueuedLines || queued_bytes_ > Server::kMostQueuedBytes) return end();
    queue_.push_back(std::move(line));
    if (queue_.size() == 1) write();
  }

  void write() {
    watch();
    asio::async_write(socket_, asio::buffer(queue_.front()),
                      [self = shared_from_this()](auto error, std::size_t) {
                        if (error) return self->end();
                        self->sent();
                      });
  }

  void sent() {
    queued_bytes_ -= queue_.front().size();
    queue_.pop_front();
    if (!queue_.empty()) return write();
    watch();
    if (last_) {
      boost::system::error_code ignored;
      socket_.shutdown(asio::socket_base::shutdown_both, ignored);
      end();
    } else if (std::exchange(reads_on_, false)) {
      read();
    }
  }

  // Something has to happen within the limit, unless it is for us to say something.
  void watch() {
    timer_.cancel();
    if (queue_.empty() && (follows_ || waits_for_end_)) return;
    timer_.expires_after(idle_);
    timer_.async_wait([weak = weak_from_this()](auto error) {
      const auto self = weak.lock();
      if (!error && self) self->end();
    });
  }

  void end() {
    follows_ = false;
    timer_.cancel();
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

  asio::local::stream_protocol::socket socket_;
  asio::steady_timer timer_;
  EventLog& log_;
  const Handler& handler_;
  std::chrono::milliseconds idle_;
  asio::streambuf buffer_;
  std::deque<std::string> queue_;
  std::size_t queued_bytes_ = 0;
  bool reads_on_ = false;  // when the queue has been sent
  bool follows_ = false;
  bool waits_for_end_ = false;
  bool last_ = false;  // close when the queue has been sent
};

Server::Server(asio::io_context& io, EventLog& log, Handler handler, Limits limits)
    : acceptor_(io), pause_timer_(io), log_(log), handler_(std::move(handler)), limits_(limits) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::create(asio::io_context& io, const std::filesystem::path& socket,
                                               EventLog& log, Handler handler) {
  return create(io, socket, log, std::move(handler), Limits{});
}

Result<std::unique_ptr<Server>> Server::create(asio::io_context& io, const std::filesystem::path& socket,
                                               EventLog& log, Handler handler, Limits limits) {
  std::unique_ptr<Server> server(new Server(io, log, std::move(handler), limits));
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
    if (error) return accept_later();
    const std::string why = no_room(socket.native_handle());
    const auto session = std::make_shared<Session>(std::move(socket), log_, handler_, limits_);
    if (why.empty()) {
      sessions_.push_back(session);
      session->read();
    } else {
      session->refuse(why);
    }
    accept();
  });
}

// Out of descriptors in spite of the reserve. Whoever waits in the backlog makes the socket ready at once
// again, so it is let alone for a moment.
void Server::accept_later() {
  pause_timer_.expires_after(limits_.accept_pause);
  pause_timer_.async_wait([this](auto error) {
    if (!error) accept();
  });
}

std::string Server::no_room(int descriptor) {
  std::erase_if(sessions_, [](const auto& session) { return session.expired(); });
  if (is_reserved(descriptor)) {
    return "understudyd has no descriptors to spare for another connection; raise its limit (ulimit -n, or "
           "LimitNOFILE= of its service), or end what is connected";
  }
  if (sessions_.size() < kMostSessions) return "";
  return "understudyd has " + std::to_string(sessions_.size()) +
         " connections already; end some (`understudy events --follow` is one each)";
}

}  // namespace understudy::control

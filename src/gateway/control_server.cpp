#include "gateway/control_server.hpp"

#include "base/passed_descriptors.hpp"
#include "base/unique_fd.hpp"
#include "gateway/limits.hpp"
#include "gateway/log.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <deque>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/write.hpp>
#include <system_error>

namespace understudy::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

// One that is connected: a daemon, or somebody who looks.
class ControlServer::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(ControlServer& server, Local::socket socket) : server_(&server), socket_(std::move(socket)) {}

  void start() { read(); }
  void stop() {  // the server is going
    server_ = nullptr;
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  struct Outgoing {
    std::string text;
    UniqueFd beside;  // none: the text alone
  };

  void read() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](error_code error, std::size_t count) {
                              if (error) return self->end();
                              self->received_.append(self->chunk_.data(), count);
                              if (self->take_lines()) self->read();
                            });
  }

  // Whether to go on reading.
  bool take_lines() {
    std::size_t start = 0;
    for (std::size_t end = received_.find('\n'); end != std::string::npos;
         end = received_.find('\n', start)) {
      if (!server_ || closing_) return false;
      if (end - start > kLongestRequest) return refuse_rest();
      answer(std::string_view(received_).substr(start, end - start));
      start = end + 1;
    }
    received_.erase(0, start);
    if (received_.size() > kLongestRequest) return refuse_rest();
    return server_ != nullptr && !closing_;
  }

  bool refuse_rest() {
    refuse(0, fmt::format("the line is longer than {} bytes", kLongestRequest));
    closing_ = true;
    return false;
  }

  void answer(std::string_view line) {
    const auto numbered = parse_request(line);
    if (!numbered) return refuse(numbered.error().id, numbered.error().why);
    Answer answer;
    answer.id = numbered->id;
    Result<void> done =
        std::visit([&](const auto& request) { return perform(request, answer); }, numbered->request);
    answer.ok = done.has_value();
    if (!done) answer.error = std::move(done.error().message);
    const auto* listen = std::get_if<request::Listen>(&numbered->request);
    send(answer, done && listen ? server_->services_.copy_of_listener(listen->app) : UniqueFd());
  }

  Result<void> perform(const request::Listen& listen, Answer&) { return server_->services_.listen(listen); }
  Result<void> perform(const request::Route& route, Answer&) { return server_->services_.route(route); }
  Result<void> perform(const request::Withdraw& withdraw, Answer&) {
    return server_->services_.withdraw(withdraw);
  }
  Result<void> perform(const request::Release& release, Answer&) {
    return server_->services_.release(release);
  }
  Result<void> perform(const request::Forget& forget, Answer&) { return server_->services_.forget(forget); }
  Result<void> perform(const request::Status&, Answer& answer) {
    answer.pid = ::getpid();
    answer.services = server_->services_.status();
    answer.enters_networks = answer.enters_user_namespaces = true;
    return {};
  }
  Result<void> perform(const request::Quit&, Answer&) {
    quits_ = closing_ = true;
    return {};
  }

  void refuse(std::uint64_t id, std::string why) {
    Answer answer;
    answer.id = id;
    answer.error = std::move(why);
    send(answer);
  }

  void send(const Answer& answer, UniqueFd beside = {}) {
    outgoing_.push_back({answer_line(answer) + '\n', std::move(beside)});
    unsent_ += outgoing_.back().text.size();
    if (unsent_ > kMostUnsentAnswers) return end();
    if (outgoing_.size() == 1) write();
  }

  // The front's descriptor goes with its first bytes.
  void write() {
    if (outgoing_.front().beside) {
      return socket_.async_wait(Local::socket::wait_write, [self = shared_from_this()](error_code error) {
        if (error || !self->send_descriptor()) return self->end();
        self->write();
      });
    }
    asio::async_write(socket_, asio::buffer(outgoing_.front().text),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->end();
                        self->unsent_ -= self->outgoing_.front().text.size();
                        self->outgoing_.pop_front();
                        if (!self->outgoing_.empty()) return self->write();
                        if (self->closing_) self->end();
                      });
  }

  // False: the connection is broken. What was not sent now goes with what is sent next.
  bool send_descriptor() {
    Outgoing& front = outgoing_.front();
    const ssize_t count = send_with_descriptor(socket_.native_handle(), front.text, front.beside.get());
    if (count < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    front.beside.reset();
    front.text.erase(0, static_cast<std::size_t>(count));
    unsent_ -= static_cast<std::size_t>(count);
    return true;
  }

  void end() {
    error_code ignored;
    socket_.close(ignored);
    ControlServer* server = std::exchange(server_, nullptr);
    if (server == nullptr) return;
    server->sessions_.erase(shared_from_this());
    if (quits_) server->quit_();
  }

  ControlServer* server_;  // none: this session is over
  Local::socket socket_;
  std::array<char, 4096> chunk_{};
  std::string received_;
  std::deque<Outgoing> outgoing_;  // the front one is being sent
  std::size_t unsent_ = 0;         // bytes of them
  bool closing_ = false;           // after what is to be sent
  bool quits_ = false;
};

Result<std::unique_ptr<ControlServer>> ControlServer::create(asio::io_context& loop, Services& services,
                                                             const std::filesystem::path& socket, Quit quit) {
  const auto cannot = [&](const std::string& why) {
    return failure(fmt::format("cannot listen on {}: {}", socket.string(), why));
  };
  if (socket.string().size() >= sizeof(sockaddr_un::sun_path)) {
    return cannot("the path is too long for a unix socket; choose a shorter run directory");
  }
  const Local::endpoint endpoint(socket.string());
  error_code error;
  Local::socket probe(loop);
  probe.connect(endpoint, error);
  if (!error) return cannot("another gateway answers there; end it with `understudy down`");
  std::error_code ignored;
  std::filesystem::remove(socket, ignored);
  std::unique_ptr<ControlServer> server(new ControlServer(loop, services, socket, std::move(quit)));
  server->acceptor_.open(endpoint.protocol(), error);
  const mode_t before = ::umask(0177);  // the socket is never open to others, not even for a moment
  if (!error) server->acceptor_.bind(endpoint, error);
  ::umask(before);
  if (!error) server->acceptor_.listen(static_cast<int>(kMostSessions), error);
  if (error) return cannot(error.message());
  server->accept();
  return server;
}

ControlServer::ControlServer(asio::io_context& loop, Services& services, std::filesystem::path socket,
                             Quit quit)
    : services_(services),
      path_(std::move(socket)),
      quit_(std::move(quit)),
      acceptor_(loop),
      pause_timer_(loop) {}

ControlServer::~ControlServer() {
  for (const auto& session : sessions_) session->stop();
  std::error_code ignored;
  if (acceptor_.is_open()) std::filesystem::remove(path_, ignored);
}

void ControlServer::accept() {
  acceptor_.async_accept([this](error_code error, Local::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      say(fmt::format("control socket: {}", error.message()));
      // Out of descriptors in spite of the reserve: a moment later is soon enough.
      pause_timer_.expires_after(kAcceptPause);
      return pause_timer_.async_wait([this](error_code code) {
        if (!code) accept();
      });
    }
    if (sessions_.size() < kMostSessions) {
      const auto session = std::make_shared<Session>(*this, std::move(socket));
      sessions_.insert(session);
      session->start();
    }
    accept();
  });
}

}  // namespace understudy::gateway

#include "qemu/qmp_client.hpp"

#include "base/check.hpp"
#include "base/passed_descriptors.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

namespace understudy::qemu {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

// QEMU's main loop may be busy, but a monitor that takes this long to leave negotiation is of no use.
constexpr Duration kNegotiationLimit = std::chrono::seconds(10);

}  // namespace

QmpClient::QmpClient(asio::io_context& loop, Handlers handlers)
    : socket_(loop), timer_(loop), handlers_(std::move(handlers)) {}

Result<std::shared_ptr<QmpClient>> QmpClient::connect(asio::io_context& loop,
                                                      const std::filesystem::path& socket,
                                                      Handlers handlers) {
  std::shared_ptr<QmpClient> client(new QmpClient(loop, std::move(handlers)));
  boost::system::error_code error;
  client->socket_.open({}, error);
  // A backlog that is full must be an error, not a wait.
  if (!error) client->socket_.non_blocking(true, error);
  if (!error) client->socket_.connect(asio::local::stream_protocol::endpoint(socket.string()), error);
  if (error) return failure("cannot connect to QEMU's monitor " + socket.string() + ": " + error.message());
  client->read();
  return client;
}

void QmpClient::execute(std::string_view command, json::object arguments, Duration limit, Callback callback) {
  if (state_ == State::closed) return;
  if (state_ == State::lost) {
    asio::post(socket_.get_executor(), [self = shared_from_this(), callback = std::move(callback),
                                        text = std::string(command) + ": the monitor's connection is lost"] {
      if (self->state_ != State::closed)
        callback(tl::unexpected<QmpError>(QmpError{QmpError::Kind::lost, "", text}));
    });
    return;
  }
  US_CHECK(state_ == State::ready);
  send(command, arguments, limit, std::move(callback));
}

void QmpClient::execute_with(UniqueFd descriptor, std::string_view command, json::object arguments,
                             Duration limit, Callback callback) {
  if (state_ != State::ready) return execute(command, std::move(arguments), limit, std::move(callback));
  send(command, arguments, limit, std::move(callback), std::move(descriptor));
}

void QmpClient::send(std::string_view command, const json::object& arguments, Duration limit,
                     Callback callback, UniqueFd descriptor) {
  const std::uint64_t id = next_id_++;
  if (output_.empty() || descriptor || output_.back().descriptor)
    output_.push_back({"", std::move(descriptor)});
  output_.back().text += qmp_command(id, command, arguments);
  pending_.emplace(id, Pending{std::string(command), Clock::now() + limit, limit, std::move(callback)});
  arm_timer();
  if (writing_.text.empty()) write();
}

void QmpClient::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  boost::system::error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
  // What they hold may own whoever is closing us: let go of it when the caller's frame is gone.
  asio::post(socket_.get_executor(),
             [handlers = std::exchange(handlers_, {}), pending = std::exchange(pending_, {})] {});
}

void QmpClient::read() {
  socket_.async_read_some(asio::buffer(input_), [self = shared_from_this()](auto error, std::size_t bytes) {
    if (self->state_ == State::closed || self->state_ == State::lost) return;
    if (!error) return self->received(bytes);
    std::string why = error == asio::error::eof ? std::string("QEMU closed its monitor")
                                                : "QEMU's monitor: " + error.message();
    if (self->codec_.pending_bytes() != 0) why += " inside a message";
    self->lose(why);
  });
}

void QmpClient::received(std::size_t bytes) {
  std::vector<QmpMessage> messages;
  const auto fed = codec_.feed(std::string_view(input_.data(), bytes), messages);
  for (QmpMessage& message : messages) {
    std::visit([this](auto& each) { handle(each); }, message);
    if (state_ == State::closed || state_ == State::lost) return;  // by what was just called
  }
  if (!fed) return lose(fed.error().message);
  read();
}

void QmpClient::write() {
  if (output_.empty() || state_ == State::closed || state_ == State::lost) return;
  writing_ = std::move(output_.front());
  output_.pop_front();
  if (writing_.descriptor) return write_with_descriptor();
  write_rest();
}

void QmpClient::write_with_descriptor() {
  const auto write_now = [self = shared_from_this()](auto error) {
    if (error || self->state_ == State::closed || self->state_ == State::lost) return;
    Output& writing = self->writing_;
    const ssize_t count =
        send_with_descriptor(self->socket_.native_handle(), writing.text, writing.descriptor.get());
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return self->write_with_descriptor();
    if (count < 0) return;  // the reader sees the end as well
    writing.descriptor.reset();
    writing.text.erase(0, static_cast<std::size_t>(count));
    if (writing.text.empty()) return self->write();
    self->write_rest();
  };
  socket_.async_wait(asio::local::stream_protocol::socket::wait_write, write_now);
}

void QmpClient::write_rest() {
  asio::async_write(socket_, asio::buffer(writing_.text),
                    [self = shared_from_this()](auto error, std::size_t) {
                      self->writing_.text.clear();
                      if (self->state_ == State::closed || self->state_ == State::lost) return;
                      // The reader sees the end as well, after everything that QEMU said before it.
                      if (!error) self->write();
                    });
}

void QmpClient::handle(const QmpGreeting& greeting) {
  if (state_ != State::negotiating || !pending_.empty()) return;
  (void)greeting;
  send("qmp_capabilities", {}, kNegotiationLimit, [this](const QmpReply& reply) {
    if (!reply) return lose(reply.error().message);
    state_ = State::ready;
    const auto ready = handlers_.ready;  // a copy: it may close us, which lets go of the original
    if (ready) ready();
  });
}

void QmpClient::handle(QmpReturn& reply) {
  answer(reply.id, std::move(reply.value));
}

void QmpClient::handle(const QmpErrorReply& reply) {
  if (!reply.id) return lose("QEMU's monitor could not read a command: " + reply.description);
  const auto found = pending_.find(*reply.id);
  if (found == pending_.end()) return;
  answer(*reply.id, tl::unexpected<QmpError>(QmpError{QmpError::Kind::refused, reply.error_class,
                                                      found->second.command + ": " + reply.description}));
}

void QmpClient::handle(const QmpEvent& event) {
  if (state_ != State::ready) return;
  const auto handler = handlers_.event;  // a copy: it may close us, which lets go of the original
  if (handler) handler(event);
}

void QmpClient::answer(std::uint64_t id, QmpReply reply) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;  // its limit was faster
  const Callback callback = std::move(found->second.callback);
  pending_.erase(found);
  if (callback) callback(std::move(reply));
}

void QmpClient::arm_timer() {
  if (pending_.empty()) return;
  const auto soonest = std::min_element(pending_.begin(), pending_.end(), [](const auto& a, const auto& b) {
    return a.second.deadline < b.second.deadline;
  });
  if (timer_.expiry() == soonest->second.deadline) return;
  timer_.expires_at(soonest->second.deadline);
  timer_.async_wait([self = shared_from_this()](auto error) {
    if (!error && self->state_ != State::closed && self->state_ != State::lost) self->expire();
  });
}

void QmpClient::expire() {
  const auto now = Clock::now();
  std::vector<std::uint64_t> late;
  for (const auto& [id, command] : pending_) {
    if (command.deadline <= now) late.push_back(id);
  }
  for (const std::uint64_t id : late) {
    const auto found = pending_.find(id);
    if (found == pending_.end()) continue;
    const std::string text =
        found->second.command + ": no answer within " + format_duration(found->second.limit);
    answer(id, tl::unexpected<QmpError>(QmpError{QmpError::Kind::late, "", text}));
    if (state_ == State::closed || state_ == State::lost) return;
  }
  arm_timer();
}

void QmpClient::lose(const std::string& why) {
  if (state_ == State::lost || state_ == State::closed) return;
  state_ = State::lost;
  boost::system::error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
  const auto self = shared_from_this();
  const auto pending = std::exchange(pending_, {});
  for (const auto& [id, command] : pending) {
    if (state_ == State::closed) return;
    if (command.callback)
      command.callback(
          tl::unexpected<QmpError>(QmpError{QmpError::Kind::lost, "", command.command + ": " + why}));
  }
  if (state_ != State::closed && handlers_.lost) {
    const auto lost = std::exchange(handlers_.lost, {});
    lost(why);
  }
}

}  // namespace understudy::qemu

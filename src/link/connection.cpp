#include "link/connection.hpp"

#include "base/counted.hpp"
#include "link/definitions.hpp"
#include "protocol/codec.hpp"

#include <algorithm>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

namespace understudy::link {

namespace {

namespace from = protocol::from_agent;
namespace to = protocol::to_agent;
using boost::system::error_code;

// Only for rate limits; every decision is timed by the engine's clock.
Time now() {
  return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

// Ordinary traffic follows the configured beat.
double messages_per_second(const RunView& view) {
  const double beats = 1000.0 / static_cast<double>(view.welcome.beat_interval_ms);
  return kMessagesPerSecond + 2 * beats;
}

}  // namespace

Connection::Connection(boost::asio::io_context& io, const config::Config& config, core::GuestRun run,
                       RunView view, std::filesystem::path socket,
                       std::shared_ptr<const engine::EventSink> sink, std::shared_ptr<const Heard> heard)
    : io_(io),
      run_(run),
      path_(std::move(socket)),
      sink_(std::move(sink)),
      heard_(std::move(heard)),
      socket_(io),
      timer_(io),
      view_(std::move(view)),
      interpreter_(config, run, view_),
      reader_(protocol::kMaxLineToDaemon, protocol::LineReader::OnOversized::resynchronise),
      messages_(messages_per_second(view_), now()),
      bytes_(kBytesPerSecond, now()),
      hellos_(kHellosPerSecond, now()) {}

void Connection::close() {
  closed_ = true;
  ++attempt_;
  error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
}

void Connection::post(core::Event event) {
  boost::asio::post(io_, [self = shared_from_this(), event = std::move(event)]() mutable {
    if (!self->closed_) (*self->sink_)(std::move(event));
  });
}

void Connection::log(const std::string& text) {
  if (heard_->log) heard_->log(run_, text);
}

// ---- connecting ----

void Connection::connect() {
  if (closed_) return;
  const std::uint64_t attempt = ++attempt_;
  error_code ignored;
  socket_.close(ignored);
  socket_ = Socket(io_);
  // A path too long for a unix socket throws; it is the caller's mistake, and told like any failure.
  try {
    const boost::asio::local::stream_protocol::endpoint endpoint(path_.string());
    socket_.async_connect(endpoint, [self = shared_from_this(), attempt](error_code error) {
      if (attempt != self->attempt_) return;
      if (!error) return self->connected();
      if (!std::exchange(self->trouble_told_, true))
        self->log("cannot connect to " + self->path_.string() + " yet: " + error.message());
      self->connect_later();
    });
  } catch (const boost::system::system_error& error) {
    log("cannot connect to " + path_.string() + ": " + error.what() + "; use a shorter run directory");
  }
}

void Connection::connected() {
  trouble_told_ = false;
  reader_.reset();
  first_line_ = true;
  session_.reset();
  tails_asked_.clear();
  queue_.clear();
  queued_bytes_ = 0;
  writing_ = false;
  put("\n");  // ends whatever a former daemon left unfinished
  send(to::Greet{});
  read();
}

void Connection::connect_later() {
  timer_.expires_after(AgentLinks::kReconnect);
  timer_.async_wait([self = shared_from_this(), attempt = attempt_](error_code error) {
    if (!error && attempt == self->attempt_) self->connect();
  });
}

void Connection::lost(const std::string& why) {
  if (closed_) return;
  ++attempt_;
  error_code ignored;
  socket_.close(ignored);
  if (session_) {
    session_.reset();
    post(core::event::AgentLost{run_, why});
  }
  connect_later();
}

// ---- reading ----

void Connection::read() {
  socket_.async_read_some(boost::asio::buffer(buffer_), [self = shared_from_this(), attempt = attempt_](
                                                            error_code error, std::size_t bytes) {
    if (attempt != self->attempt_) return;
    if (error) return self->lost("its channel was closed (" + error.message() + ")");
    self->take({self->buffer_.data(), bytes});
    if (attempt == self->attempt_) self->read_on_after_debt(bytes);
  });
}

// A flood is not read faster than the limits allow; it backs up in the guest.
void Connection::read_on_after_debt(std::size_t bytes) {
  bytes_.take(static_cast<double>(bytes), now());
  const Duration debt = std::max(bytes_.debt(now()), messages_.debt(now()));
  if (debt == Duration::zero()) return read();
  misbehaved("it floods its channel; it is read more slowly");
  timer_.expires_after(debt);
  timer_.async_wait([self = shared_from_this(), attempt = attempt_](error_code error) {
    if (!error && attempt == self->attempt_) self->read();
  });
}

void Connection::take(std::string_view bytes) {
  const std::uint64_t attempt = attempt_;
  while (!bytes.empty() && attempt == attempt_) {
    switch (reader_.take(bytes)) {
      case protocol::LineReader::Found::nothing: break;
      case protocol::LineReader::Found::line: on_line(reader_.line()); break;
      case protocol::LineReader::Found::oversized:
        first_line_ = false;
        misbehaved("a line longer than " + std::to_string(protocol::kMaxLineToDaemon) + " bytes");
        break;
    }
  }
}

void Connection::on_line(std::string_view line) {
  messages_.take(1, now());
  const bool first = std::exchange(first_line_, false);
  if (line.empty()) return;
  const auto message = protocol::decode_from_agent(line);
  if (message) return on_message(*message);
  // The agent may have been in the middle of a line when the former connection ended.
  if (first && !session_) return;
  misbehaved(message.error().message);
}

void Connection::on_message(const protocol::FromAgent& message) {
  if (const auto* hello = std::get_if<from::Hello>(&message)) return on_hello(*hello);
  if (!session_) return;  // said to a former connection
  Meaning meaning = interpreter_.interpret(message, requests_);
  if (const auto* misdeed = std::get_if<Misdeed>(&meaning)) return misbehaved(misdeed->what);
  if (const auto* prepared = std::get_if<from::Prepared>(&message); prepared && heard_->prepared)
    heard_->prepared(run_, *prepared);
  if (const auto* tail = std::get_if<from::Tail>(&message);
      tail != nullptr && tails_asked_.erase(tail->app) != 0 && heard_->tail)
    heard_->tail(run_, *tail);
  if (const auto* said = std::get_if<from::Log>(&message)) log(said->text);
  if (auto* event = std::get_if<core::Event>(&meaning)) post(std::move(*event));
}

void Connection::on_hello(const from::Hello& message) {
  if (hellos_.debt(now()) > Duration::zero()) return misbehaved("it says hello too often");
  hellos_.take(1, now());
  if (message.version != protocol::kVersion) {
    const std::string why = "its agent speaks version " + std::to_string(message.version) +
                            " of the protocol, this daemon version " + std::to_string(protocol::kVersion) +
                            "; build the guest's image with this release (guest/build-image)";
    send(to::Refuse{protocol::kVersion, why});
    return misbehaved(why);
  }
  Meaning meaning = interpreter_.interpret(message, requests_);
  if (const auto* misdeed = std::get_if<Misdeed>(&meaning)) return misbehaved(misdeed->what);
  // Said twice when our greeting and its own opening of the port cross.
  const bool again = session_ == message.session;
  session_ = message.session;
  send(view_.welcome);
  if (again) return;
  post(std::move(std::get<core::Event>(meaning)));
  for (const protocol::ToAgent& request : requests_.unanswered()) send(request);
}

void Connection::misbehaved(const std::string& what) {
  std::uint64_t held_back = 0;
  if (!tell_misbehaved_.now(now(), held_back)) return;
  post(core::event::AgentMisbehaved{
      run_, held_back == 0 ? what : what + " (and " + counted(held_back, "time") + " more before)"});
}

// ---- writing ----

void Connection::request(const protocol::ToAgent& message) {
  if (!requests_.add(message)) return lost("it leaves too many requests unanswered");
  if (session_) send(message);
}

bool Connection::ask_tail(protocol::AppNumber app, std::size_t bytes) {
  const std::uint64_t most = std::clamp<std::uint64_t>(bytes, 1, protocol::kMaxTailBytes);
  if (!session_ || !send(to::Tail{app, most})) return false;
  tails_asked_.insert(app);
  return true;
}

bool Connection::send(const protocol::ToAgent& message) {
  if (!socket_.is_open()) return false;
  auto line = protocol::encode(message);
  if (!line) {
    log("a message could not be written: " + line.error().message);
    return false;
  }
  const std::uint64_t attempt = attempt_;
  put(std::move(*line));
  return attempt == attempt_;
}

void Connection::put(std::string line) {
  if (queued_bytes_ + line.size() > AgentLinks::kMaxQueuedBytes)
    return lost("it does not read what it is sent");
  queued_bytes_ += line.size();
  queue_.push_back(std::move(line));
  if (!writing_) write();
}

void Connection::write() {
  writing_ = true;
  // The queue's front stays where it is while it is written: a deque moves nothing when it grows at its end.
  boost::asio::async_write(socket_, boost::asio::buffer(queue_.front()),
                           [self = shared_from_this(), attempt = attempt_](error_code error, std::size_t) {
                             if (attempt != self->attempt_) return;
                             if (error) return self->lost("its channel was closed (" + error.message() + ")");
                             self->queued_bytes_ -= self->queue_.front().size();
                             self->queue_.pop_front();
                             self->writing_ = false;
                             if (!self->queue_.empty()) self->write();
                           });
}

}  // namespace understudy::link

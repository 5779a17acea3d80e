#include "gateway/service.hpp"

#include "gateway/limits.hpp"
#include "gateway/listening.hpp"
#include "gateway/log.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <sstream>
#include <utility>

namespace understudy::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// The client closed or reset its side. One that only closed may still wait for an answer, so this alone is no
// reason to turn it away.
bool has_left(asio::ip::tcp::socket& client) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(client.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return true;
  return info.tcpi_state == TCP_CLOSE || info.tcpi_state == TCP_CLOSE_WAIT;
}

bool was_reset(asio::ip::tcp::socket& client) {
  pollfd state{client.native_handle(), 0, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLERR | POLLHUP)) != 0;
}

std::string place_of(const Upstream& upstream) {
  const std::string text = text_of(upstream.endpoint);
  if (upstream.network.is_ours()) return text;
  return fmt::format("{} in the network of process {}", text, upstream.pid.value_or(0));
}

}  // namespace

Service::Service(const Shared& shared, std::string app)
    : shared_(shared),
      app_(std::move(app)),
      retry_timer_(shared.loop),
      limit_timer_(shared.loop),
      self_(std::make_shared<Service*>(this)),
      listener_(shared.loop, app_, shared.budget, [this](Socket client, ConnectionShare share) {
        accepted(std::move(client), std::move(share));
      }) {}

Service::~Service() {
  withdraw();
  reset_waiting();
}

Result<void> Service::listen(const Endpoint& endpoint, UniqueFd bound) {
  return listener_.bind(endpoint, std::move(bound));
}

Result<void> Service::move_to(const Endpoint& endpoint, config::WhileDown while_down,
                              std::chrono::milliseconds wait_limit) {
  const Endpoint before = address();
  const bool had_one = listener_.is_bound();
  release();
  auto moved = listen(endpoint);
  if (moved) moved = set_while_down(while_down, wait_limit);
  if (moved) {
    say(fmt::format("{}: listens on {}", app_, text_of(endpoint)));
    return moved;
  }
  release();
  if (!had_one) return moved;
  auto back = listen(before);
  if (back) back = set_while_down(while_down_, wait_limit_);
  if (back) return moved;
  return failure(moved.error().message + "; and the former address is lost: " + back.error().message);
}

Result<void> Service::set_while_down(config::WhileDown while_down, std::chrono::milliseconds wait_limit) {
  while_down_ = while_down;
  wait_limit_ = wait_limit;
  if (!upstream_ && while_down == config::WhileDown::refuse) {
    listener_.close();
    reset_waiting();
  } else if (auto opened = listener_.open(); !opened) {
    return opened;
  }
  watch_limit();
  return {};
}

Result<void> Service::route(Upstream upstream) {
  if (upstream_ && upstream_->endpoint == upstream.endpoint && upstream_->pid == upstream.pid) {
    upstream_->owner = upstream.owner;
    return {};
  }
  withdraw();
  if (auto opened = listener_.open(); !opened) return opened;
  upstream_ = std::move(upstream);
  ++generation_;
  say(fmt::format("{}: leads to {}, {} connections waited", app_, place_of(*upstream_), waiting_.size()));
  connect_next();
  return {};
}

void Service::withdraw() {
  ++generation_;
  drop_attempt();
  retry_timer_.cancel();
  if (upstream_) say(fmt::format("{}: withdrawn, {} connections cut", app_, connected_.size()));
  upstream_.reset();
  cut_ += connected_.size();
  for (auto& [key, each] : connected_) each.relay->stop();
  connected_.clear();
  if (while_down_ == config::WhileDown::refuse) {
    listener_.close();
    reset_waiting();
  }
}

void Service::accepted(Socket client, ConnectionShare share) {
  if (waiting_.size() >= kMostWaiting) make_room();
  if (waiting_.size() >= kMostWaiting) {
    ++cut_;
    cut(client);
    return;
  }
  waiting_.push_back({std::move(client), std::move(share), Clock::now()});
  if (waiting_.size() == 1) watch_limit();
  if (upstream_) connect_next();
}

// A client that gives up and comes again would otherwise fill the queue with what it left behind. Looking at
// all of them costs a little, so not at every connection of a flood.
void Service::make_room() {
  const auto now = Clock::now();
  if (now - room_made_ < kAcceptPause) return;
  room_made_ = now;
  drop_attempt();
  const auto left =
      std::remove_if(waiting_.begin(), waiting_.end(), [](Waiting& each) { return has_left(each.client); });
  waiting_.erase(left, waiting_.end());
  watch_limit();
  if (upstream_) connect_next();
}

void Service::reset_waiting() {
  drop_attempt();
  cut_ += waiting_.size();
  for (Waiting& each : waiting_) cut(each.client);
  waiting_.clear();
  limit_timer_.cancel();
}

void Service::watch_limit() {
  limit_timer_.cancel();
  if (waiting_.empty()) return;
  limit_timer_.expires_at(waiting_.front().since + wait_limit_);
  limit_timer_.async_wait([weak = std::weak_ptr<Service*>(self_)](error_code error) {
    const auto self = weak.lock();
    if (self && !error) (*self)->expire();
  });
}

void Service::expire() {
  const auto now = Clock::now();
  bool front_went = false;
  while (!waiting_.empty() && waiting_.front().since + wait_limit_ <= now) {
    front_went = true;
    ++cut_;
    cut(waiting_.front().client);
    waiting_.pop_front();
  }
  if (front_went) drop_attempt();
  watch_limit();
  if (upstream_ && !attempt_) connect_next();
}

void Service::connect_next() {
  if (!upstream_ || attempt_) return;
  while (!waiting_.empty() && was_reset(waiting_.front().client)) {
    waiting_.pop_front();
    watch_limit();
  }
  if (waiting_.empty()) return;
  retry_timer_.cancel();
  attempt(kFirstAttempt);
}

void Service::attempt(std::chrono::milliseconds limit) {
  attempt_ =
      std::make_shared<Attempt>(Attempt{Socket(shared_.loop), asio::steady_timer(shared_.loop), limit});
  error_code error;
  auto socket = upstream_->network.tcp_socket(upstream_->endpoint.protocol().family());
  if (socket) attempt_->socket.assign(upstream_->endpoint.protocol(), socket->get(), error);
  if (!socket || error) {
    complain(socket ? error.message() : socket.error().message);
    return try_again(limit, kStrangerPause);
  }
  (void)socket->release();
  attempt_->socket.set_option(asio::ip::tcp::no_delay(true), error);
  const auto done = [weak = std::weak_ptr<Service*>(self_), generation = generation_,
                     mine = attempt_](error_code code) {
    const auto self = weak.lock();
    if (self && (*self)->generation_ == generation && (*self)->attempt_ == mine)
      (*self)->attempt_done(mine, code);
  };
  attempt_->socket.async_connect(upstream_->endpoint, done);
  attempt_->timer.expires_after(limit);
  attempt_->timer.async_wait([done](error_code code) {
    if (!code) done(asio::error::timed_out);
  });
}

void Service::attempt_done(const std::shared_ptr<Attempt>& done, const error_code& error) {
  if (error) {
    const auto next =
        error == asio::error::timed_out ? std::min(done->limit * 2, kLongestAttempt) : done->limit;
    return try_again(next);
  }
  if (!is_its_owners()) return try_again(kFirstAttempt, kStrangerPause);
  Socket upstream = std::move(done->socket);
  drop_attempt();
  relay(std::move(upstream));
  connect_next();
}

// Whoever took the connection.
bool Service::is_its_owners() {
  if (!upstream_->owner) return true;
  const auto listens = who_listens(upstream_->network, upstream_->endpoint.port());
  if (listens == *upstream_->owner) return true;
  complain(fmt::format("{} listens there, not the guest's QEMU",
                       listens ? fmt::format("uid {}", *listens) : std::string("somebody else")));
  return false;
}

void Service::complain(const std::string& text) {
  const auto now = Clock::now();
  if (complained_ != Clock::time_point{} && now - complained_ <= kSayAgain) return;
  complained_ = now;
  say(fmt::format("{}: nobody is led to {}: {}", app_, place_of(*upstream_), text));
}

// The client at the front stays there until its limit; the limit's timer ends it.
void Service::try_again(std::chrono::milliseconds limit, std::chrono::milliseconds pause) {
  drop_attempt();
  retry_timer_.expires_after(pause);
  retry_timer_.async_wait(
      [weak = std::weak_ptr<Service*>(self_), generation = generation_, limit](error_code error) {
        const auto self = weak.lock();
        if (!self || error) return;
        Service& service = **self;
        if (service.generation_ == generation && !service.attempt_ && !service.waiting_.empty())
          service.attempt(limit);
      });
}

void Service::drop_attempt() {
  if (!attempt_) return;
  const auto dropped = std::exchange(attempt_, nullptr);
  dropped->timer.cancel();
  cut(dropped->socket);
}

void Service::relay(Socket upstream) {
  Waiting first = std::move(waiting_.front());
  waiting_.pop_front();
  watch_limit();
  ++served_;
  auto ended = [weak = std::weak_ptr<Service*>(self_)](const std::shared_ptr<Relay>& relay, bool) {
    if (const auto self = weak.lock()) (*self)->connected_.erase(relay.get());
  };
  const auto relay = std::make_shared<Relay>(std::move(first.client), std::move(upstream), shared_.scratch,
                                             std::move(ended));
  connected_.emplace(relay.get(), Connected{relay, std::move(first.share)});
  relay->start();
}

ServiceStatus Service::status() const {
  ServiceStatus status;
  status.app = app_;
  status.address = text_of(listener_.endpoint());
  status.listening = listener_.is_open();
  if (upstream_) {
    status.upstream = text_of(upstream_->endpoint);
    status.pid = upstream_->pid;
  }
  status.connections = connected_.size();
  status.waiting = waiting_.size();
  status.served = served_;
  status.cut = cut_;
  status.paused = listener_.paused();
  return status;
}

}  // namespace understudy::gateway

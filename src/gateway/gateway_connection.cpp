#include "gateway/gateway_connection.hpp"

#include "config/listen_address.hpp"
#include "gateway/limits.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

std::unique_ptr<asio::posix::stream_descriptor> watcher_of(asio::io_context& loop, int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return nullptr;
  return std::make_unique<asio::posix::stream_descriptor>(loop, copy);
}

// Calls `then` with the object when it is still there.
template <class Then>
auto if_alive(const std::shared_ptr<GatewayConnection*>& self, Then then) {
  return [weak = std::weak_ptr<GatewayConnection*>(self), then](error_code error = {}) {
    const auto alive = weak.lock();
    if (alive && !error) then(**alive);
  };
}

bool is_at(const ServiceStatus& service, const request::Listen& listen) {
  const auto address = config::parse_listen_address(service.address);
  return address && address->host == listen.host && address->port == listen.port;
}

}  // namespace

GatewayConnection::GatewayConnection(asio::io_context& loop, Files files,
                                     std::vector<request::Listen> addresses, Handlers handlers)
    : loop_(loop),
      files_(std::move(files)),
      addresses_(std::move(addresses)),
      handlers_(std::move(handlers)),
      revive_timer_(loop),
      start_timer_(loop),
      ping_timer_(loop),
      self_(std::make_shared<GatewayConnection*>(this)) {}

GatewayConnection::~GatewayConnection() = default;

// ---- before the loop runs ----

Result<void> GatewayConnection::connect_or_start() {
  auto link = ControlLink::connect(files_.socket);
  if (link && !*link) {
    auto starting = GatewayStart::begin(files_.program, files_.socket, files_.log, listeners_.descriptors());
    if (!starting) return tl::unexpected(starting.error());
    if (auto said = starting->wait(kStartLimit); !said) return said;
    link = ControlLink::connect(files_.socket);
  }
  if (!link) return tl::unexpected(link.error());
  if (!*link) return failure(fmt::format("the gateway ended at once; its log is {}", files_.log.string()));
  link_ = *std::move(link);
  return {};
}

Result<void> GatewayConnection::introduce_and_wait(bool& hangs) {
  if (const auto asked = link_->send(request::Status{}, kAnswerLimit); !asked)
    return tl::unexpected(asked.error());
  const auto status = link_->receive(kAnswerLimit);
  if (!status) return tl::unexpected(status.error());
  hangs = !*status;
  if (hangs) return failure(fmt::format("the gateway did not answer within {} ms", kAnswerLimit.count()));
  if (!(*status)->ok) return failure((*status)->error);
  for (const Request& request : introduction(**status)) {
    auto done = link_->exchange(request, kAnswerLimit);
    // A gateway of an older release knows no release; its connections go with the address.
    if (const auto* release = std::get_if<request::Release>(&request); !done && release != nullptr)
      done = link_->exchange(request::Forget{release->app}, kAnswerLimit);
    if (done) continue;
    const auto* listen = std::get_if<request::Listen>(&request);
    if (listen == nullptr) return tl::unexpected(done.error());
    listen_as_before();
    return failure(fmt::format("application \"{}\": {}", listen->app, done.error().message));
  }
  keep_listeners();
  return {};
}

void GatewayConnection::keep_listeners() {
  for (UniqueFd& each : link_->take_descriptors()) listeners_.keep(std::move(each));
}

Result<void> GatewayConnection::start() {
  if (auto up = connect_or_start(); !up) return up;
  // A former daemon's that hangs would never be ended by anybody.
  bool hung = false;
  auto told = introduce_and_wait(hung);
  if (hung) {
    const auto process = GatewayProcess::behind(*link_, files_.socket);
    if (!process) return tl::unexpected(process.error());
    process->kill();
    if (!process->ended_within(kQuitLimit)) return told;
    if (auto up = connect_or_start(); !up) return up;
    told = introduce_and_wait(hung);
  }
  if (!told) return told;
  ready_ = true;
  watch();
  tick();
  return {};
}

// What a gateway has to know before any route: which addresses there are, and no others.
std::vector<Request> GatewayConnection::introduction(const Answer& status) {
  pid_ = static_cast<pid_t>(status.pid);
  enters_networks_ = status.enters_networks_of(::geteuid());
  found_ = status.services;
  std::vector<Request> requests;
  for (const ServiceStatus& service : found_) {
    const bool wanted = std::any_of(addresses_.begin(), addresses_.end(),
                                    [&](const request::Listen& each) { return each.app == service.app; });
    if (!wanted) requests.push_back(request::Forget{service.app});
  }
  // Those whose address changes give up the former one first, all of them: it may be what another wants, or
  // be included in its own new one.
  for (const request::Listen& each : addresses_) {
    const bool moves = std::any_of(found_.begin(), found_.end(), [&](const ServiceStatus& service) {
      return service.app == each.app && !is_at(service, each);
    });
    if (moves) requests.push_back(request::Release{each.app});
  }
  requests.insert(requests.end(), addresses_.begin(), addresses_.end());
  return requests;
}

// The daemon is about to refuse its configuration: clients keep the addresses that they know.
void GatewayConnection::listen_as_before() {
  (void)link_->take_descriptors();  // as long as they are held, nobody else can have their addresses
  if (found_.empty()) return;       // a gateway that was just started has no state to go back to
  std::vector<Request> requests;
  for (const request::Listen& each : addresses_) {
    const bool is_new = std::none_of(found_.begin(), found_.end(),
                                     [&](const ServiceStatus& service) { return service.app == each.app; });
    requests.push_back(is_new ? Request(request::Forget{each.app}) : Request(request::Release{each.app}));
  }
  for (const ServiceStatus& service : found_) {
    const auto address = config::parse_listen_address(service.address);
    for (request::Listen each : addresses_) {
      if (!address || each.app != service.app) continue;
      each.host = address->host;
      each.port = address->port;
      requests.push_back(each);
    }
  }
  for (const Request& request : requests) (void)link_->exchange(request, kAnswerLimit);
}

// ---- another one ----

void GatewayConnection::revive() {
  if (link_ || starting_ || end_) return;
  auto link = ControlLink::connect(files_.socket);
  if (link && *link) return connected(*std::move(*link));
  if (!link) {
    handlers_.problem(link.error().message);
    return revive_later();
  }
  auto starting = GatewayStart::begin(files_.program, files_.socket, files_.log, listeners_.descriptors());
  if (!starting) {
    handlers_.problem(starting.error().message);
    return revive_later();
  }
  starting_.emplace(std::move(*starting));
  first_word_ = watcher_of(loop_, starting_->fd());
  if (!first_word_) return started(failure(std::strerror(errno)));
  start_timer_.expires_after(kStartLimit);
  start_timer_.async_wait(if_alive(self_, [](GatewayConnection& it) {
    if (it.starting_) it.started(tl::unexpected(it.starting_->too_late()));
  }));
  await_start();
}

void GatewayConnection::await_start() {
  first_word_->async_wait(asio::posix::stream_descriptor::wait_read,
                          if_alive(self_, [](GatewayConnection& it) {
                            if (!it.starting_) return;
                            if (const auto said = it.starting_->hear()) return it.started(*said);
                            it.await_start();
                          }));
}

void GatewayConnection::started(const Result<void>& said) {
  first_word_.reset();
  start_timer_.cancel();
  starting_.reset();
  if (said) return revive();
  handlers_.problem(said.error().message);
  revive_later();
}

void GatewayConnection::revive_later() {
  revive_timer_.expires_after(kRestartPause);
  revive_timer_.async_wait(if_alive(self_, [](GatewayConnection& it) { it.revive(); }));
}

void GatewayConnection::connected(ControlLink link) {
  link_ = std::move(link);
  last_asked_ = last_answered_ = last_ping_ = 0;
  watch();
  if (send(request::Status{})) tick();
}

// The answers to what a new one is told: first how it is, then each address.
void GatewayConnection::introduce(const Answer& answer) {
  const auto told = introducing_.find(answer.id);
  if (told == introducing_.end()) {
    if (pid_ != 0) return;  // a ping's
    if (!answer.ok) return lost(answer.error);
    for (const Request& request : introduction(answer)) {
      const auto* listen = std::get_if<request::Listen>(&request);
      const auto id = send(request);
      if (!id) return;
      introducing_[*id] = listen != nullptr ? fmt::format("application \"{}\": ", listen->app) : "";
    }
  } else {
    if (!answer.ok) {
      handlers_.problem(told->second + answer.error);
      drop();
      return revive_later();
    }
    introducing_.erase(told);
  }
  if (!introducing_.empty()) return;
  keep_listeners();
  ready_ = true;
  handlers_.ready();
}

// ---- the one that there is ----

std::optional<std::uint64_t> GatewayConnection::post(const Request& request) {
  return ready_ ? send(request) : std::nullopt;
}

std::optional<std::uint64_t> GatewayConnection::send(const Request& request) {
  if (!link_) return std::nullopt;
  const auto id = link_->post(request);
  if (!id) {
    lost(id.error().message);
    return std::nullopt;
  }
  if (last_asked_ == last_answered_) waiting_since_ = Clock::now();
  last_asked_ = *id;
  watch_writable();
  return *id;
}

void GatewayConnection::watch() {
  if (!readable_) readable_ = watcher_of(loop_, link_->fd());
  if (!readable_) return lost(std::strerror(errno));
  readable_->async_wait(asio::posix::stream_descriptor::wait_read,
                        if_alive(self_, [mine = readable_.get()](GatewayConnection& it) {
                          if (it.readable_.get() != mine) return;
                          it.take_answers();
                          if (it.readable_.get() == mine) it.watch();
                        }));
}

void GatewayConnection::watch_writable() {
  if (writing_ || !link_ || !link_->has_unsent() || !readable_) return;
  writing_ = true;
  readable_->async_wait(asio::posix::stream_descriptor::wait_write,
                        if_alive(self_, [mine = readable_.get()](GatewayConnection& it) {
                          if (it.readable_.get() != mine) return;
                          it.writing_ = false;
                          if (auto sent = it.link_->flush(); !sent) return it.lost(sent.error().message);
                          it.watch_writable();
                        }));
}

void GatewayConnection::take_answers() {
  while (link_) {
    const auto answer = link_->receive(milliseconds(0));
    if (!answer) return lost(answer.error().message);
    if (!*answer) return;
    take(**answer);
  }
}

void GatewayConnection::take(const Answer& answer) {
  last_answered_ = std::max(last_answered_, answer.id);
  waiting_since_ = Clock::now();
  if (!ready_) return introduce(answer);
  if (answer.id != last_ping_) handlers_.answered(answer);
}

bool GatewayConnection::take_until(std::uint64_t id, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (link_ && last_answered_ < id) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    const auto answer = link_->receive(std::max(left, milliseconds(0)));
    if (!answer) {
      lost(answer.error().message);
      return false;
    }
    if (!*answer) return false;
    take(**answer);
  }
  return link_.has_value();
}

Result<std::vector<ServiceStatus>> GatewayConnection::status(milliseconds limit) {
  const auto id = post(request::Status{});
  if (!id) return failure("there is no gateway at the moment");
  const auto deadline = Clock::now() + limit;
  while (link_) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    auto answer = link_->receive(std::max(left, milliseconds(0)));
    if (!answer) return tl::unexpected(answer.error());
    if (!*answer) break;
    if ((*answer)->id == *id) {
      last_answered_ = *id;
      return std::move((*answer)->services);
    }
    take(**answer);
  }
  return failure("the gateway does not answer");
}

// ---- whether it lives ----

void GatewayConnection::tick() {
  const auto now = Clock::now();
  // Not let run ourselves: whatever it answered meanwhile is still to be read.
  if (now - ticked_ > 2 * kPingInterval) waiting_since_ = now;
  ticked_ = now;
  take_answers();
  if (!link_) return;
  if (last_asked_ != last_answered_) {
    if (now - waiting_since_ > kPingLimit) return hangs();
  } else {
    const auto id = send(request::Status{});
    if (!id) return;
    last_ping_ = *id;
  }
  ping_timer_.expires_after(kPingInterval);
  ping_timer_.async_wait(if_alive(self_, [](GatewayConnection& it) { it.tick(); }));
}

void GatewayConnection::hangs() {
  const auto process = GatewayProcess::behind(*link_, files_.socket);
  const std::string text =
      fmt::format("the gateway has answered nothing for {} s", kPingLimit.count() / 1000);
  drop();
  if (!process) {
    handlers_.problem(text + "; " + process.error().message);
    return revive_later();
  }
  process->kill();
  handlers_.problem(fmt::format("{}; process {} is ended, its connections with it, and it is started again",
                                text, process->pid()));
  await_end(*process);
}

void GatewayConnection::await_end(const GatewayProcess& process) {
  end_ = watcher_of(loop_, process.fd());
  if (!end_) return revive_later();
  end_->async_wait(asio::posix::stream_descriptor::wait_read, if_alive(self_, [](GatewayConnection& it) {
                     it.end_.reset();
                     it.revive_timer_.cancel();
                     it.revive();
                   }));
  revive_timer_.expires_after(kPingLimit);
  revive_timer_.async_wait(if_alive(self_, [pid = process.pid()](GatewayConnection& it) {
    if (!it.end_) return;
    it.end_.reset();
    it.handlers_.problem(
        fmt::format("the gateway, process {}, was killed and does not end (see its state: ps {})", pid, pid));
    it.revive();
  }));
}

void GatewayConnection::drop() {
  readable_.reset();
  link_.reset();
  ready_ = writing_ = false;
  introducing_.clear();
  ping_timer_.cancel();
  pid_ = 0;
}

void GatewayConnection::lost(const std::string& why) {
  drop();
  handlers_.problem(why + "; its connections are gone, and it is started again");
  // From the loop: this may be the middle of a takeover.
  asio::post(loop_, if_alive(self_, [](GatewayConnection& it) { it.revive(); }));
}

void GatewayConnection::close() {
  drop();
  listeners_.clear();
  starting_.reset();
  first_word_.reset();
  end_.reset();
  revive_timer_.cancel();
  start_timer_.cancel();
  handlers_ = {[] {}, [](const Answer&) {}, [](const std::string&) {}};
}

}  // namespace understudy::gateway

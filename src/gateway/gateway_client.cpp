#include "gateway/gateway_client.hpp"

#include "config/listen_address.hpp"
#include "gateway/limits.hpp"
#include "gateway/log.hpp"
#include "gateway/spawn.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr const char* kUpstreamHost = "127.0.0.1";

request::Listen listen_request(const config::Application& application) {
  const config::Address& address = *application.address;
  const auto wait_limit = std::chrono::ceil<milliseconds>(address.wait_limit);
  return {application.name, address.listen_host, address.listen_port, address.while_down,
          static_cast<std::uint32_t>(wait_limit.count())};
}

bool is_at(const ServiceStatus& service, const request::Listen& listen) {
  const auto address = config::parse_listen_address(service.address);
  return address && address->host == listen.host && address->port == listen.port;
}

}  // namespace

Result<std::unique_ptr<GatewayClient>> GatewayClient::start(asio::io_context& loop,
                                                            const config::Config& config,
                                                            const std::filesystem::path& run_dir,
                                                            UpstreamPort upstream_port,
                                                            engine::EventSink sink, Options options) {
  std::unique_ptr<GatewayClient> client(new GatewayClient(loop, config, run_dir, std::move(upstream_port),
                                                          std::move(sink), std::move(options)));
  auto ready = client->connect_or_spawn();
  if (ready) ready = client->introduce();
  if (!ready) return tl::unexpected(ready.error());
  client->watch();
  return client;
}

Result<std::unique_ptr<GatewayClient>> GatewayClient::start(asio::io_context& loop,
                                                            const config::Config& config,
                                                            const std::filesystem::path& run_dir,
                                                            UpstreamPort upstream_port,
                                                            engine::EventSink sink) {
  return start(loop, config, run_dir, std::move(upstream_port), std::move(sink), Options{});
}

GatewayClient::GatewayClient(asio::io_context& loop, const config::Config& config,
                             std::filesystem::path run_dir, UpstreamPort upstream_port,
                             engine::EventSink sink, Options options)
    : loop_(loop),
      socket_(run_dir / "gateway.sock"),
      log_(run_dir / "gateway.log"),
      upstream_port_(std::move(upstream_port)),
      sink_(std::move(sink)),
      options_(std::move(options)),
      revive_timer_(loop),
      retry_timer_(loop),
      self_(std::make_shared<GatewayClient*>(this)) {
  for (std::size_t i = 0; i < config.applications.size(); ++i) {
    if (!config.applications[i].address) continue;
    applications_.push_back(
        {core::AppId{static_cast<std::uint32_t>(i)}, listen_request(config.applications[i]), {}, false});
  }
}

GatewayClient::~GatewayClient() = default;

Result<void> GatewayClient::connect_or_spawn() {
  auto link = ControlLink::connect(socket_);
  if (link && !*link) {
    if (auto spawned = spawn_gateway(options_.program, socket_, log_); !spawned) return spawned;
    link = ControlLink::connect(socket_);
  }
  if (!link) return tl::unexpected(link.error());
  if (!*link) return failure(fmt::format("the gateway ended at once; its log is {}", log_.string()));
  link_ = *std::move(link);
  return {};
}

// What the gateway has to know before any route: which addresses there are, and no others.
Result<void> GatewayClient::introduce() {
  const auto found = link_->exchange(request::Status{}, kAnswerLimit);
  if (!found) return tl::unexpected(found.error());
  pid_ = static_cast<pid_t>(found->pid);
  for (const ServiceStatus& service : found->services) {
    const bool wanted = std::any_of(applications_.begin(), applications_.end(),
                                    [&](const Application& each) { return each.listen.app == service.app; });
    if (wanted) continue;
    if (auto done = link_->exchange(request::Forget{service.app}, kAnswerLimit); !done)
      return tl::unexpected(done.error());
  }
  auto listened = listen(found->services);
  if (!listened) listen_as_before(found->services);
  return listened;
}

// Those whose address changes give up the former one first, all of them: it may be what another wants, or be
// included in its own new one.
Result<void> GatewayClient::listen(const std::vector<ServiceStatus>& present) {
  for (const ServiceStatus& service : present) {
    const Application* application = find(service.app);
    if (application == nullptr || is_at(service, application->listen)) continue;
    auto released = link_->exchange(request::Release{service.app}, kAnswerLimit);
    // A gateway of an older release knows no release; its connections go with the address.
    if (!released) released = link_->exchange(request::Forget{service.app}, kAnswerLimit);
    if (!released) return tl::unexpected(released.error());
  }
  for (const Application& application : applications_) {
    const auto done = link_->exchange(application.listen, kAnswerLimit);
    if (!done)
      return failure(fmt::format("application \"{}\": {}", application.listen.app, done.error().message));
  }
  return {};
}

// The daemon is about to refuse its configuration: clients keep the addresses that they know.
void GatewayClient::listen_as_before(const std::vector<ServiceStatus>& present) {
  const auto ask = [this](const Request& request) { (void)link_->exchange(request, kAnswerLimit); };
  for (const Application& application : applications_) {
    const bool is_new = std::none_of(present.begin(), present.end(), [&](const ServiceStatus& service) {
      return service.app == application.listen.app;
    });
    if (!is_new) {
      ask(request::Release{application.listen.app});
    } else if (!present.empty()) {  // a gateway that was just started has no state to go back to
      ask(request::Forget{application.listen.app});
    }
  }
  for (const ServiceStatus& service : present) {
    const Application* application = find(service.app);
    const auto address = config::parse_listen_address(service.address);
    if (application == nullptr || !address) continue;
    request::Listen before = application->listen;
    before.host = address->host;
    before.port = address->port;
    ask(before);
  }
}

void GatewayClient::watch() {
  if (!readable_) {
    const int copy = ::fcntl(link_->fd(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return lost(std::strerror(errno));
    readable_ = std::make_unique<asio::posix::stream_descriptor>(loop_, copy);
  }
  readable_->async_wait(
      asio::posix::stream_descriptor::wait_read,
      [weak = std::weak_ptr<GatewayClient*>(self_), mine = readable_.get()](error_code error) {
        const auto self = weak.lock();
        if (!self || error || (*self)->readable_.get() != mine) return;
        (*self)->take_answers();
        if ((*self)->readable_.get() == mine) (*self)->watch();
      });
}

void GatewayClient::take_answers() {
  for (;;) {
    const auto answer = link_->receive(milliseconds(0));
    if (!answer) return lost(answer.error().message);
    if (!*answer) return;
    take(**answer);
  }
}

void GatewayClient::take(const Answer& answer) {
  const auto under_way = routes_under_way_.find(answer.id);
  if (under_way == routes_under_way_.end()) {
    if (!answer.ok) problem(answer.error);
    return;
  }
  Application* application = find(under_way->second);
  routes_under_way_.erase(under_way);
  if (!application->run || application->told) return;  // withdrawn since
  const bool superseded = std::any_of(routes_under_way_.begin(), routes_under_way_.end(),
                                      [&](const auto& each) { return each.second == application->id; });
  if (superseded) return;  // the answer to the later one counts
  if (!answer.ok) {
    problem(fmt::format("application \"{}\": {}; tried again", application->listen.app, answer.error));
    return retry_routes_later();
  }
  application->told = true;
  asio::post(loop_,
             [weak = std::weak_ptr<GatewayClient*>(self_), app = application->id, run = *application->run] {
               const auto self = weak.lock();
               if (!self) return;
               const Application* now = (*self)->find(app);
               if (now->run == run) (*self)->sink_(core::event::AddressRouted{app, run});
             });
}

void GatewayClient::withdraw(core::AppId app) {
  Application* application = find(app);
  if (application == nullptr) return;
  application->run.reset();
  application->told = false;
  if (!link_) return;  // no gateway, no connections
  const auto deadline = std::chrono::steady_clock::now() + kWithdrawLimit;
  const auto id = link_->send(request::Withdraw{application->listen.app}, kWithdrawLimit);
  if (!id) return lost(id.error().message);
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    const auto answer = link_->receive(std::max(left, milliseconds(0)));
    if (!answer) return lost(answer.error().message);
    if (!*answer) {
      return problem(
          fmt::format("the gateway did not confirm within {} ms that application \"{}\" is withdrawn; it is "
                      "asked to, before anything else",
                      kWithdrawLimit.count(), application->listen.app));
    }
    take(**answer);
    if ((*answer)->id == *id) return;
  }
}

void GatewayClient::route(core::AppId app, core::GuestRun run) {
  Application* application = find(app);
  if (application == nullptr) return;
  application->run = run;
  application->told = false;
  send_route(*application);
}

void GatewayClient::send_route(Application& application) {
  if (!link_) return;  // told when there is a gateway again
  const auto port = upstream_port_(application.id, *application.run);
  if (!port) {
    problem(fmt::format("application \"{}\" has no port on this host to be reached at; tried again",
                        application.listen.app));
    return retry_routes_later();
  }
  const auto id = link_->send(request::Route{application.listen.app, kUpstreamHost, *port}, kAnswerLimit);
  if (!id) return lost(id.error().message);
  routes_under_way_[*id] = application.id;
}

void GatewayClient::retry_routes_later() {
  retry_timer_.expires_after(kRestartPause);
  retry_timer_.async_wait([weak = std::weak_ptr<GatewayClient*>(self_)](error_code error) {
    const auto self = weak.lock();
    if (!self || error) return;
    for (Application& application : (*self)->applications_) {
      if (application.run && !application.told) (*self)->send_route(application);
    }
  });
}

void GatewayClient::lost(const std::string& why) {
  problem(why + "; its connections are gone, and it is started again");
  readable_.reset();
  link_.reset();
  routes_under_way_.clear();
  pid_ = 0;
  // From the loop: this may be the middle of a takeover, which goes on without waiting for a new gateway.
  asio::post(loop_, [weak = std::weak_ptr<GatewayClient*>(self_)] {
    if (const auto self = weak.lock()) (*self)->revive();
  });
}

void GatewayClient::revive() {
  if (link_) return;
  auto ready = connect_or_spawn();
  if (ready) ready = introduce();
  if (!ready) {
    link_.reset();
    problem(ready.error().message);
    return revive_later();
  }
  // Withdrawn while it could not be told: a gateway that only the connection was lost to still leads there.
  for (Application& application : applications_) {
    if (!link_) return;
    if (application.run) {
      send_route(application);
    } else {
      withdraw(application.id);
    }
  }
  if (link_) watch();
}

void GatewayClient::revive_later() {
  revive_timer_.expires_after(kRestartPause);
  revive_timer_.async_wait([weak = std::weak_ptr<GatewayClient*>(self_)](error_code error) {
    const auto self = weak.lock();
    if (self && !error) (*self)->revive();
  });
}

Result<std::vector<ServiceStatus>> GatewayClient::status() {
  if (!link_) return failure("there is no gateway at the moment");
  const auto id = link_->send(request::Status{}, kAnswerLimit);
  if (!id) return tl::unexpected(id.error());
  for (;;) {
    auto answer = link_->receive(kAnswerLimit);
    if (!answer) return tl::unexpected(answer.error());
    if (!*answer) return failure("the gateway does not answer");
    if ((*answer)->id == *id) return std::move((*answer)->services);
    take(**answer);
  }
}

void GatewayClient::quit() {
  readable_.reset();
  link_.reset();
  revive_timer_.cancel();
  retry_timer_.cancel();
  for (Application& application : applications_) application.run.reset();
  if (const auto ended = end_gateway(socket_); !ended) problem(ended.error().message);
  pid_ = 0;
}

void GatewayClient::problem(const std::string& text) const {
  if (options_.problem) return options_.problem(text);
  say(text);
}

GatewayClient::Application* GatewayClient::find(const std::string& name) {
  const auto found = std::find_if(applications_.begin(), applications_.end(),
                                  [&](const Application& each) { return each.listen.app == name; });
  return found == applications_.end() ? nullptr : &*found;
}

GatewayClient::Application* GatewayClient::find(core::AppId app) {
  const auto found = std::find_if(applications_.begin(), applications_.end(),
                                  [&](const Application& each) { return each.id == app; });
  return found == applications_.end() ? nullptr : &*found;
}

Result<void> end_gateway(const std::filesystem::path& socket) {
  auto link = ControlLink::connect(socket);
  if (!link) return tl::unexpected(link.error());
  if (!*link) return {};
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt((*link)->fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return failure(fmt::format("the gateway's process is not known: {}", std::strerror(errno)));
  }
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  // Answered or not, what counts is that the process is gone and its addresses are free.
  const auto asked = (*link)->exchange(request::Quit{}, kQuitLimit);
  if (!process) return asked ? Result<void>() : tl::unexpected(asked.error());
  pollfd gone{process.get(), POLLIN, 0};
  if (asked && ::poll(&gone, 1, static_cast<int>(kQuitLimit.count())) > 0) return {};
  ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  if (::poll(&gone, 1, static_cast<int>(kQuitLimit.count())) > 0) return {};
  return failure(
      fmt::format("the gateway, process {}, does not end; kill it: kill -9 {}", peer.pid, peer.pid));
}

}  // namespace understudy::gateway

#include "gateway/gateway_client.hpp"

#include "gateway/limits.hpp"
#include "gateway/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr const char* kUpstreamHost = "127.0.0.1";
constexpr std::chrono::seconds kSameProblemAgain{60};

request::Listen listen_request(const config::Application& application) {
  const config::Address& address = *application.address;
  const auto wait_limit = std::chrono::ceil<milliseconds>(address.wait_limit);
  return {application.name, address.listen_host, address.listen_port, address.while_down,
          static_cast<std::uint32_t>(wait_limit.count())};
}

}  // namespace

Result<std::unique_ptr<GatewayClient>> GatewayClient::start(asio::io_context& loop,
                                                            const config::Config& config,
                                                            const std::filesystem::path& run_dir,
                                                            UpstreamPort upstream_port,
                                                            engine::EventSink sink, Options options) {
  std::unique_ptr<GatewayClient> client(new GatewayClient(loop, config, run_dir, std::move(upstream_port),
                                                          std::move(sink), std::move(options)));
  if (auto started = client->connection_->start(); !started) return tl::unexpected(started.error());
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
      upstream_port_(std::move(upstream_port)),
      sink_(std::move(sink)),
      options_(std::move(options)),
      retry_timer_(loop),
      late_timer_(loop),
      self_(std::make_shared<GatewayClient*>(this)) {
  std::vector<request::Listen> addresses;
  for (std::size_t i = 0; i < config.applications.size(); ++i) {
    const auto& address = config.applications[i].address;
    if (!address) continue;
    Application application;
    application.id = core::AppId{static_cast<std::uint32_t>(i)};
    application.listen = listen_request(config.applications[i]);
    application.guest_port = address->guest_port;
    application.reach_check = address->reach_check;
    addresses.push_back(application.listen);
    applications_.push_back(std::move(application));
  }
  connection_ = std::make_unique<GatewayConnection>(
      loop, GatewayConnection::Files{options_.program, socket_, run_dir / "gateway.log"},
      std::move(addresses),
      GatewayConnection::Handlers{.ready = [this] { tell_everything(); },
                                  .answered = [this](const Answer& answer) { answered(answer); },
                                  .problem = [this](const std::string& text) { problem(text); }});
}

GatewayClient::~GatewayClient() {
  for (Application& application : applications_) forget_way(application);
}

// Withdrawn while it could not be told: a gateway that only the connection was lost to still leads there.
void GatewayClient::tell_everything() {
  routes_under_way_.clear();
  withdrawals_.clear();
  for (Application& application : applications_) {
    if (!application.run) {
      send_withdrawal(application);
    } else if (application.open) {
      send_route(application);
    }
  }
}

void GatewayClient::answered(const Answer& answer) {
  if (withdrawals_.erase(answer.id) > 0) {
    if (!answer.ok) problem(answer.error);
    return;
  }
  const auto under_way = routes_under_way_.find(answer.id);
  if (under_way == routes_under_way_.end()) {
    if (!answer.ok) problem(answer.error);
    return;
  }
  Application* application = find(under_way->second);
  routes_under_way_.erase(under_way);
  if (!application->run || !application->open || application->told) return;  // withdrawn since
  const bool superseded = std::any_of(routes_under_way_.begin(), routes_under_way_.end(),
                                      [&](const auto& each) { return each.second == application->id; });
  if (superseded) return;  // the answer to the later one counts
  if (!answer.ok) {
    problem(fmt::format("application \"{}\": {}; tried again", application->listen.app, answer.error));
    return retry_later(kRestartPause);
  }
  application->told = true;
  deliver(application->id, *application->run, core::event::AddressRouted{application->id, *application->run});
}

void GatewayClient::deliver(core::AppId app, core::GuestRun run, core::Event event) {
  asio::post(loop_, [weak = std::weak_ptr<GatewayClient*>(self_), app, run, event = std::move(event)] {
    const auto self = weak.lock();
    if (self && (*self)->find(app)->run == run) (*self)->sink_(event);
  });
}

void GatewayClient::withdraw(core::AppId app) {
  Application* application = find(app);
  if (application == nullptr) return;
  application->run.reset();
  application->untouched = false;
  forget_way(*application);
  send_withdrawal(*application);
}

void GatewayClient::send_withdrawal(Application& application) {
  const auto id = connection_->post(request::Withdraw{application.listen.app});
  if (!id) return;  // no gateway, no connections; or it is told when it can be
  // Answers come in order: behind one that is late, nobody waits again.
  const auto wait = withdrawals_.empty() ? kWithdrawWait : milliseconds(0);
  withdrawals_[*id] = {application.id, std::chrono::steady_clock::now() + kWithdrawLimit};
  if (connection_->take_until(*id, wait) || withdrawals_.count(*id) == 0) return;
  late_timer_.expires_after(kWithdrawLimit);
  late_timer_.async_wait([weak = std::weak_ptr<GatewayClient*>(self_)](error_code error) {
    const auto self = weak.lock();
    if (self && !error) (*self)->say_late_withdrawals();
  });
}

void GatewayClient::say_late_withdrawals() {
  const auto now = std::chrono::steady_clock::now();
  for (const auto& [id, each] : withdrawals_) {
    if (each.late > now) continue;
    problem(
        fmt::format("the gateway did not confirm within {} ms that application \"{}\" is withdrawn; it is "
                    "asked to, before anything else",
                    kWithdrawLimit.count(), find(each.app)->listen.app));
  }
}

void GatewayClient::route(core::AppId app, core::GuestRun run) {
  Application* application = find(app);
  if (application == nullptr) return;
  forget_way(*application);
  application->run = run;
  const bool led_there = leads_there_already(*application);
  application->reached = application->reached || led_there;
  application->open = !application->reach_check || led_there;
  application->untouched = false;
  if (application->open) return send_route(*application);
  look(*application);
}

void GatewayClient::forget_way(Application& application) {
  if (application.check) application.check->stop();
  application.check.reset();
  application.open = application.told = false;
  application.refusals = 0;
}

// Clients have been led there all the time that no daemon was here: they are not made to wait for a look.
bool GatewayClient::leads_there_already(const Application& application) const {
  if (!application.untouched) return false;
  const auto& found = connection_->found();
  const auto port = upstream_port_(application.id, *application.run);
  const auto process = process_of(application);
  return port && std::any_of(found.begin(), found.end(), [&](const ServiceStatus& service) {
           return service.app == application.listen.app &&
                  service.upstream == fmt::format("{}:{}", kUpstreamHost, *port) &&
                  (!service.pid || !process || service.pid == process->pid);
         });
}

// ---- the clients' way ----

std::optional<std::uint16_t> GatewayClient::port_of(const Application& application) {
  const auto port = upstream_port_(application.id, *application.run);
  if (!port) {
    problem(fmt::format("application \"{}\" has no port on this host to be reached at; tried again",
                        application.listen.app));
    retry_later(kRestartPause);
  }
  return port;
}

std::optional<GatewayClient::Process> GatewayClient::process_of(const Application& application) const {
  if (!options_.upstream_process) return std::nullopt;
  return options_.upstream_process(*application.run);
}

void GatewayClient::look(Application& application) {
  const auto port = port_of(application);
  if (!port) return;
  const auto of_it = [weak = std::weak_ptr<GatewayClient*>(self_), app = application.id](auto then) {
    if (const auto self = weak.lock()) then(**self, app);
  };
  PathCheck::Way way{*port, application.guest_port, {}, {}};
  if (const auto process = process_of(application)) {
    way.owner = process->uid;
    auto network = process->pid ? ProcessNetwork::of(*process->pid) : Result<ProcessNetwork>();
    if (!network) {
      problem(network.error().message);
      return retry_later(kRestartPause);
    }
    way.network = std::move(*network);
  }
  application.check = PathCheck::start(
      loop_, std::move(way), application.reached ? kPathSettled : kPathWatch,
      {.open = [of_it] { of_it([](GatewayClient& client, core::AppId app) { client.found_open(app); }); },
       .refused =
           [of_it](const std::string& why) {
             of_it([&why](GatewayClient& client, core::AppId app) { client.found_closed(app, why); });
           }});
}

void GatewayClient::found_open(core::AppId app) {
  Application& application = *find(app);
  application.open = application.reached = true;
  application.refusals = 0;
  send_route(application);
}

void GatewayClient::found_closed(core::AppId app, const std::string& why) {
  Application& application = *find(app);
  application.check.reset();
  application.reached = false;
  // Taken for open a moment too early: whoever was led there waits again.
  if (std::exchange(application.open, false)) send_withdrawal(application);
  application.told = false;
  const unsigned times = ++application.refusals;
  if (times >= kPathAttempts)
    deliver(app, *application.run, core::event::AddressUnreachable{app, *application.run, why});
  retry_later(std::min(kLongestPathPause, kPathPause * (1U << std::min(times - 1, 8U))));
}

void GatewayClient::send_route(Application& application) {
  const auto port = port_of(application);
  if (!port) return;
  request::Route route{application.listen.app, kUpstreamHost, *port, {}, {}};
  if (const auto process = process_of(application)) {
    route.uid = process->uid;
    route.pid = process->pid;
  }
  const auto id = connection_->post(route);
  if (id) routes_under_way_[*id] = application.id;  // else told when there is a gateway again
}

void GatewayClient::retry_later(milliseconds pause) {
  // One timer for all: an earlier look at one of them hurts nobody.
  if (retry_timer_.expiry() > std::chrono::steady_clock::now() &&
      retry_timer_.expiry() <= std::chrono::steady_clock::now() + pause)
    return;
  retry_timer_.expires_after(pause);
  retry_timer_.async_wait([weak = std::weak_ptr<GatewayClient*>(self_)](error_code error) {
    const auto self = weak.lock();
    if (!self || error) return;
    for (Application& application : (*self)->applications_) {
      if (!application.run || application.told) continue;
      if (application.open) {
        (*self)->send_route(application);
      } else if (!application.check) {
        (*self)->look(application);
      }
    }
  });
}

// ---- the rest ----

Result<std::vector<ServiceStatus>> GatewayClient::status() {
  return connection_->status(kAnswerLimit);
}

void GatewayClient::quit() {
  connection_->close();
  retry_timer_.cancel();
  late_timer_.cancel();
  for (Application& application : applications_) {
    application.run.reset();
    forget_way(application);
  }
  if (const auto ended = end_gateway(socket_); !ended) problem(ended.error().message);
}

// The same sentence is not said every second for as long as its cause lasts.
void GatewayClient::problem(const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(said_, [&](const auto& each) { return now - each.second > kSameProblemAgain; });
  if (!said_.emplace(text, now).second) return;
  if (options_.problem) return options_.problem(text);
  say(text);
}

GatewayClient::Application* GatewayClient::find(core::AppId app) {
  const auto found = std::find_if(applications_.begin(), applications_.end(),
                                  [&](const Application& each) { return each.id == app; });
  return found == applications_.end() ? nullptr : &*found;
}

}  // namespace understudy::gateway

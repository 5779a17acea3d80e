#include "gateway/services.hpp"

#include "gateway/limits.hpp"

#include <fmt/format.h>

#include <utility>

namespace understudy::gateway {

namespace asio = boost::asio;

namespace {

Result<Service::Endpoint> endpoint_of(const std::string& host, std::uint16_t port) {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) return failure(fmt::format("\"{}\" is not a numeric address", host));
  return Service::Endpoint(address, port);
}

tl::unexpected<Error> unknown(const std::string& app) {
  return failure(fmt::format("nothing is listened on for application \"{}\"; send listen first", app));
}

}  // namespace

Services::Services(asio::io_context& loop, std::size_t most_connections, KeptListeners listeners)
    : loop_(loop), budget_(most_connections), scratch_(kChunkBytes), listeners_(std::move(listeners)) {}

Result<void> Services::listen(const request::Listen& listen) {
  const auto endpoint = endpoint_of(listen.host, listen.port);
  if (!endpoint) return tl::unexpected(endpoint.error());
  const std::chrono::milliseconds wait_limit(listen.wait_limit_ms);
  auto known = services_.find(listen.app);
  if (known != services_.end() && known->second->address() == *endpoint) {
    return known->second->set_while_down(listen.while_down, wait_limit);
  }
  if (known != services_.end()) return known->second->move_to(*endpoint, listen.while_down, wait_limit);
  if (services_.size() >= kMostServices) {
    return failure(fmt::format("{} applications are listened for already, which is the most", kMostServices));
  }
  auto service = std::make_unique<Service>(Service::Shared{loop_, budget_, scratch_}, listen.app);
  if (auto bound = service->listen(*endpoint, listeners_.take(text_of(*endpoint))); !bound) return bound;
  if (auto opened = service->set_while_down(listen.while_down, wait_limit); !opened) return opened;
  services_[listen.app] = std::move(service);
  return {};
}

Result<void> Services::route(const request::Route& route) {
  const auto known = services_.find(route.app);
  if (known == services_.end()) return unknown(route.app);
  const auto endpoint = endpoint_of(route.host, route.port);
  if (!endpoint) return tl::unexpected(endpoint.error());
  Upstream upstream{*endpoint, route.uid, route.pid, {}};
  if (route.pid) {
    auto network = ProcessNetwork::of(*route.pid);
    if (!network) return tl::unexpected(network.error());
    upstream.network = std::move(*network);
  }
  return known->second->route(std::move(upstream));
}

Result<void> Services::withdraw(const request::Withdraw& withdraw) {
  const auto known = services_.find(withdraw.app);
  if (known == services_.end()) return unknown(withdraw.app);
  known->second->withdraw();
  return {};
}

Result<void> Services::release(const request::Release& release) {
  const auto known = services_.find(release.app);
  if (known == services_.end()) return unknown(release.app);
  known->second->release();
  return {};
}

Result<void> Services::forget(const request::Forget& forget) {
  services_.erase(forget.app);
  return {};
}

UniqueFd Services::copy_of_listener(const std::string& app) {
  const auto known = services_.find(app);
  return known == services_.end() ? UniqueFd() : known->second->copy_of_listener();
}

std::vector<ServiceStatus> Services::status() const {
  std::vector<ServiceStatus> all;
  for (const auto& [app, service] : services_) all.push_back(service->status());
  return all;
}

}  // namespace understudy::gateway

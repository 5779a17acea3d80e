#pragma once

#include "base/unique_fd.hpp"
#include "gateway/kept_listeners.hpp"
#include "gateway/protocol.hpp"
#include "gateway/service.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::gateway {

// Every application's address, by the application's name. What the control socket asks for is done here, at
// once.
class Services {
 public:
  // `most_connections` at one time, waiting ones included, over all applications. Addresses for which there
  // is one among `listeners` are taken with it.
  Services(boost::asio::io_context& loop, std::size_t most_connections, KeptListeners listeners = {});

  // Also with another address than before: connections that exist go on, and if the new one cannot be had,
  // the former stays.
  [[nodiscard]] Result<void> listen(const request::Listen& listen);
  [[nodiscard]] Result<void> route(const request::Route& route);
  [[nodiscard]] Result<void> withdraw(const request::Withdraw& withdraw);
  // Two applications that change places: each gives up its address before either takes the other's.
  [[nodiscard]] Result<void> release(const request::Release& release);
  [[nodiscard]] Result<void> forget(const request::Forget& forget);
  [[nodiscard]] std::vector<ServiceStatus> status() const;
  // Of the application's address, for whoever is to keep it when this process ends; none: it has no address.
  [[nodiscard]] UniqueFd copy_of_listener(const std::string& app);

 private:
  boost::asio::io_context& loop_;
  ConnectionBudget budget_;
  Relay::Scratch scratch_;
  KeptListeners listeners_;
  std::map<std::string, std::unique_ptr<Service>> services_;
};

}  // namespace understudy::gateway

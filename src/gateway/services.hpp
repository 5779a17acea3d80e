#pragma once

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
  // `most_connections` at one time, waiting ones included, over all applications.
  Services(boost::asio::io_context& loop, std::size_t most_connections);

  // Also with another address than before: connections that exist go on, and if the new one cannot be had,
  // the former stays.
  [[nodiscard]] Result<void> listen(const request::Listen& listen);
  [[nodiscard]] Result<void> route(const request::Route& route);
  [[nodiscard]] Result<void> withdraw(const request::Withdraw& withdraw);
  // Two applications that change places: each gives up its address before either takes the other's.
  [[nodiscard]] Result<void> release(const request::Release& release);
  [[nodiscard]] Result<void> forget(const request::Forget& forget);
  [[nodiscard]] std::vector<ServiceStatus> status() const;

 private:
  boost::asio::io_context& loop_;
  ConnectionBudget budget_;
  Relay::Scratch scratch_;
  std::map<std::string, std::unique_ptr<Service>> services_;
};

}  // namespace understudy::gateway

#pragma once

#include "config/config.hpp"
#include "engine/ports.hpp"
#include "gateway/control_link.hpp"

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::gateway {

// The daemon's side of the gateway: starts it when none answers, tells it the addresses and where they lead.
// When the gateway ends unexpectedly, it is started again and told everything once more. Destroying this
// leaves the gateway and its connections as they are; a later daemon finds them.
class GatewayClient final : public engine::AddressGate {
 public:
  // The port on 127.0.0.1 where this run answers for the application; none: it cannot be reached (any more).
  using UpstreamPort = std::function<std::optional<std::uint16_t>(core::AppId, core::GuestRun)>;
  struct Options {
    std::filesystem::path program = "/proc/self/exe";  // understands --gateway SOCKET
    // Told, as a sentence for a person, what went wrong later; standard error when it is not set.
    std::function<void(const std::string&)> problem;
  };

  // Blocks until the gateway answers and listens for every application of `config` that has an address, or
  // says what stands in the way; then every address is as it was. Routes that a gateway of before has are
  // left as they are; applications that are not in `config` any more it forgets. `sink` is called from the
  // loop, never from inside a call.
  [[nodiscard]] static Result<std::unique_ptr<GatewayClient>> start(boost::asio::io_context& loop,
                                                                    const config::Config& config,
                                                                    const std::filesystem::path& run_dir,
                                                                    UpstreamPort upstream_port,
                                                                    engine::EventSink sink, Options options);
  [[nodiscard]] static Result<std::unique_ptr<GatewayClient>> start(boost::asio::io_context& loop,
                                                                    const config::Config& config,
                                                                    const std::filesystem::path& run_dir,
                                                                    UpstreamPort upstream_port,
                                                                    engine::EventSink sink);
  ~GatewayClient() override;
  GatewayClient(const GatewayClient&) = delete;
  GatewayClient& operator=(const GatewayClient&) = delete;

  // When it returns the gateway has cut every connection to where the address led. A gateway that does not
  // confirm within kWithdrawLimit has the request, before any later route, and the delay is reported as a
  // problem.
  void withdraw(core::AppId app) override;
  // Answered by AddressRouted, unless a withdrawal or another route comes first. Repeated until it succeeds.
  void route(core::AppId app, core::GuestRun run) override;

  [[nodiscard]] Result<std::vector<ServiceStatus>> status();
  [[nodiscard]] pid_t pid() const { return pid_; }  // of the gateway
  // Ends the gateway and every connection through it.
  void quit();

 private:
  struct Application {
    core::AppId id;
    request::Listen listen;
    std::optional<core::GuestRun> run;  // where the address should lead
    bool told = false;                  // AddressRouted was delivered for it
  };

  GatewayClient(boost::asio::io_context& loop, const config::Config& config, std::filesystem::path run_dir,
                UpstreamPort upstream_port, engine::EventSink sink, Options options);

  [[nodiscard]] Result<void> connect_or_spawn();
  [[nodiscard]] Result<void> introduce();
  [[nodiscard]] Result<void> listen(const std::vector<ServiceStatus>& present);
  void listen_as_before(const std::vector<ServiceStatus>& present);
  void revive();
  void revive_later();
  void watch();
  void take_answers();
  void take(const Answer& answer);
  void lost(const std::string& why);
  void send_route(Application& application);
  void retry_routes_later();
  void problem(const std::string& text) const;
  Application* find(core::AppId app);
  Application* find(const std::string& name);

  boost::asio::io_context& loop_;
  std::filesystem::path socket_;
  std::filesystem::path log_;
  UpstreamPort upstream_port_;
  engine::EventSink sink_;
  Options options_;
  std::vector<Application> applications_;
  std::optional<ControlLink> link_;
  std::unique_ptr<boost::asio::posix::stream_descriptor>
      readable_;  // watches a duplicate of the link's descriptor
  boost::asio::steady_timer revive_timer_;
  boost::asio::steady_timer retry_timer_;
  std::map<std::uint64_t, core::AppId> routes_under_way_;  // by the request's number
  pid_t pid_ = 0;
  std::shared_ptr<GatewayClient*> self_;  // handlers hold it weakly: they may come when this is gone
};

// Ends the gateway that answers on `socket`, and returns when its process is gone; nothing to do when none
// answers. One that does not react is killed.
[[nodiscard]] Result<void> end_gateway(const std::filesystem::path& socket);

}  // namespace understudy::gateway

#pragma once

#include "config/config.hpp"
#include "engine/ports.hpp"
#include "gateway/gateway_connection.hpp"
#include "gateway/path_check.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::gateway {

// The daemon's side of the gateway: tells it the addresses and where they lead (gateway_connection.hpp keeps
// one there). Before clients are led anywhere their way is looked at (path_check.hpp). Destroying this leaves
// the gateway and its connections as they are; a later daemon finds them.
class GatewayClient final : public engine::AddressGate {
 public:
  // The port on 127.0.0.1 where this run answers for the application; none: it cannot be reached (any more).
  using UpstreamPort = std::function<std::optional<std::uint16_t>(core::AppId, core::GuestRun)>;
  struct Process {
    std::optional<std::int32_t> pid;  // the port is in its network; none: in the host's
    std::uint32_t uid = 0;            // nobody else may answer there
  };
  struct Options {
    std::filesystem::path program = "/proc/self/exe";  // understands --gateway SOCKET
    // Told, as a sentence for a person, what went wrong later; standard error when it is not set.
    std::function<void(const std::string&)> problem{};
    // The run's QEMU; not set: the ports are in the host's network, and anybody may answer there.
    std::function<Process(core::GuestRun)> upstream_process{};
  };

  // Blocks until the gateway answers and listens for every application of `config` that has an address, or
  // says what stands in the way; nothing else here waits. Routes that a gateway of before has are left as
  // they are; applications that are not in `config` any more it forgets. `sink` is called from the loop,
  // never from inside a call.
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

  // As a rule the gateway has cut every connection to where the address led when it returns. One that does
  // not confirm within kWithdrawWait has the request, before any later route; past kWithdrawLimit it is said.
  void withdraw(core::AppId app) override;
  // Answered by AddressRouted, unless a withdrawal or another route comes first. Repeated until it succeeds;
  // when no client could be served there, AddressUnreachable says so meanwhile.
  void route(core::AppId app, core::GuestRun run) override;

  [[nodiscard]] Result<std::vector<ServiceStatus>> status();
  [[nodiscard]] pid_t pid() const { return connection_->pid(); }  // of the gateway
  // Whether it can lead into a network of QEMU's own. One of an earlier release cannot.
  [[nodiscard]] bool enters_networks() const { return connection_->enters_networks(); }
  // Ends the gateway and every connection through it.
  void quit();

 private:
  struct Application {
    core::AppId id;
    request::Listen listen;
    std::uint16_t guest_port = 0;
    bool reach_check = true;
    std::optional<core::GuestRun> run;  // where the address should lead
    bool open = false;                  // the way there was found open, or is not to be looked at
    bool told = false;                  // AddressRouted was delivered for it
    bool reached = false;               // once, on whatever guest: the next look is a short one
    bool untouched = true;              // it leads where a former daemon led it
    unsigned refusals = 0;              // in a row
    std::shared_ptr<PathCheck> check;
  };
  struct Withdrawal {
    core::AppId app;
    std::chrono::steady_clock::time_point late;
  };

  GatewayClient(boost::asio::io_context& loop, const config::Config& config, std::filesystem::path run_dir,
                UpstreamPort upstream_port, engine::EventSink sink, Options options);

  void tell_everything();
  void answered(const Answer& answer);
  void look(Application& application);
  void found_open(core::AppId app);
  void found_closed(core::AppId app, const std::string& why);
  [[nodiscard]] bool leads_there_already(const Application& application) const;
  void forget_way(Application& application);
  std::optional<std::uint16_t> port_of(const Application& application);
  [[nodiscard]] std::optional<Process> process_of(const Application& application) const;
  void send_route(Application& application);
  void send_withdrawal(Application& application);
  void say_late_withdrawals();
  void retry_later(std::chrono::milliseconds pause);
  void deliver(core::AppId app, core::GuestRun run, core::Event event);
  void problem(const std::string& text);
  Application* find(core::AppId app);

  boost::asio::io_context& loop_;
  std::filesystem::path socket_;
  UpstreamPort upstream_port_;
  engine::EventSink sink_;
  Options options_;
  std::vector<Application> applications_;
  std::unique_ptr<GatewayConnection> connection_;
  boost::asio::steady_timer retry_timer_;
  boost::asio::steady_timer late_timer_;
  std::map<std::uint64_t, core::AppId> routes_under_way_;  // by the request's number
  std::map<std::uint64_t, Withdrawal> withdrawals_;        // not confirmed yet
  std::map<std::string, std::chrono::steady_clock::time_point> said_;
  std::shared_ptr<GatewayClient*> self_;  // handlers hold it weakly: they may come when this is gone
};

}  // namespace understudy::gateway

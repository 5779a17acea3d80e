#pragma once

#include "base/background.hpp"
#include "base/unique_fd.hpp"
#include "config/config.hpp"
#include "config/guest_users.hpp"
#include "control/event_log.hpp"
#include "control/json_views.hpp"
#include "control/run_dir.hpp"
#include "control/server.hpp"
#include "daemon/asio_clock.hpp"
#include "daemon/loop_watch.hpp"
#include "engine/engine.hpp"
#include "gateway/gateway_client.hpp"
#include "gateway/signal_watch.hpp"
#include "hooks/hook_runner.hpp"
#include "journal/file_journal.hpp"
#include "link/agent_links.hpp"
#include "pool/area_pool.hpp"
#include "qemu/host_bytes.hpp"
#include "qemu/qemu_hypervisor.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio.hpp>

namespace understudy::daemon {

struct Options {
  std::filesystem::path config;
  std::filesystem::path config_dir;  // of relative paths in it; empty: its own directory
  std::filesystem::path run_dir;
  std::string accelerator = "auto";  // "auto" leaves it to the configuration
  std::vector<std::string> remarks;  // what it inherited, cannot change and will feel
};

// understudyd: every part made and tied to the others. All of it lives on one loop and one thread.
class Daemon {
 public:
  // Everything that can fail before the first guest is started. The message is for the operator. When it
  // fails, nothing that it made is left, unless a former daemon's guests are still there.
  [[nodiscard]] static Result<std::unique_ptr<Daemon>> create(const Options& options);
  ~Daemon();

  // Brings everything up (or resumes) and serves until `down` is done, or until SIGTERM: then the guests and
  // applications go on, and the next daemon resumes.
  int run();

 private:
  Daemon(Options options, config::Config config);
  [[nodiscard]] static Result<std::unique_ptr<Daemon>> make(const Options& options);
  [[nodiscard]] Result<void> prepare();
  [[nodiscard]] Result<void> open_journal();
  [[nodiscard]] Result<void> go_on_with_what_is_left();
  void divide_own_cgroup();
  [[nodiscard]] Result<void> open_pool();
  [[nodiscard]] Result<void> open_hypervisor();
  [[nodiscard]] std::vector<std::uint32_t> uids_of_guests(const config::GuestUids& uids) const;
  [[nodiscard]] Result<void> open_gateway();
  [[nodiscard]] engine::EventSink sink();
  void watch_signals();
  void note(core::GuestRun run, const protocol::from_agent::Prepared& heard);
  void finish_if_down();
  void tell_unreserved();
  void cut_back_logs_now_and_then();
  void tell_blocked(const LoopWatch::Blocked& blocked);

  // What an application printed, as its guests answer; the latest question only.
  struct Output {
    std::uint64_t number = 0;
    std::map<core::GuestId, std::optional<std::string>> guests;  // nothing: it has not answered yet
  };

  // orders.cpp
  [[nodiscard]] Result<boost::json::value> handle(const control::Command& command);
  [[nodiscard]] Result<boost::json::value> handle_takeover(const control::command::Takeover& command);
  [[nodiscard]] Result<boost::json::value> handle_fault(const control::command::Fault& command);
  [[nodiscard]] std::string expected_of_failure(core::GuestId guest, core::FaultKind kind) const;
  [[nodiscard]] Result<boost::json::value> handle_start(const control::command::Start& command);
  [[nodiscard]] Result<boost::json::value> handle_stop(const control::command::Stop& command);
  [[nodiscard]] Result<boost::json::value> handle_logs(const control::command::Logs& command);
  [[nodiscard]] Result<boost::json::value> handle_maintenance(const control::command::Maintenance& command);
  // The file of who is in maintenance, as the core has it now.
  void remember_maintenance();
  void in_background(std::function<Result<void>()> write);
  // What a former daemon was told; those whose time is up are left out.
  void resume_maintenance();
  [[nodiscard]] Result<boost::json::value> handle_rehearse(const control::command::Rehearse& command);
  // The file of what rehearsals have proven, when that has changed.
  void remember_proofs();
  void resume_proofs();
  [[nodiscard]] Result<boost::json::value> handle_report(const control::command::Report& command);
  [[nodiscard]] Result<core::AppId> app_named(const std::string& name) const;
  [[nodiscard]] control::HostView host_view();

  Options options_;
  config::Config config_;
  core::Setup setup_;
  control::RunFiles files_;
  UniqueFd lock_;
  boost::asio::io_context loop_{1};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // what comes from other threads asks it
  qemu::HostBytes host_bytes_;                                  // of ourselves and the gateway
  std::unique_ptr<control::EventLog> log_;
  std::unique_ptr<hooks::HookRunner> hooks_;
  std::unique_ptr<journal::FileJournal> journal_;
  std::optional<Time> blocked_told_;
  std::uint64_t blocked_since_told_ = 0;
  bool unreserved_ = false;  // the journal's room could not be reserved, and that was told
  std::unique_ptr<pool::AreaPool> pool_;
  std::string accelerator_;
  std::string accelerator_reason_;
  std::string users_;                                               // whom QEMUs run as, for the operator
  Result<std::string> cgroups_ = failure("it was not looked for");  // below which each QEMU has one
  std::unique_ptr<qemu::QemuHypervisor> hypervisor_;
  std::unique_ptr<link::AgentLinks> links_;
  std::unique_ptr<gateway::GatewayClient> gateway_;
  std::unique_ptr<AsioClock> clock_;
  std::unique_ptr<core::Core> core_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<control::Server> server_;
  std::unique_ptr<gateway::SignalWatch> signals_;
  boost::asio::steady_timer upkeep_timer_{loop_};
  bool going_down_ = false;
  std::map<core::AppId, Output> outputs_;
  std::uint64_t outputs_asked_ = 0;
  std::uint32_t proofs_remembered_ = 0;  // core::State::proof_changes when the file was written
  Background background_;                // last: what it still does may use everything else
};

}  // namespace understudy::daemon

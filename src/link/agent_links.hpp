#pragma once

#include "config/config.hpp"
#include "engine/ports.hpp"
#include "link/definitions.hpp"
#include "protocol/messages.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include <boost/asio/io_context.hpp>

namespace understudy::link {

class Connection;

// What the core has no use for, for logs and command lines. Called from the loop; any may be empty.
struct Heard {
  std::function<void(core::GuestRun, const protocol::from_agent::Prepared&)> prepared;
  // The answer to ask_tail, once for each: the last lines of the application's output.
  std::function<void(core::GuestRun, const protocol::from_agent::Tail&)> tail;
  // What an agent wants to be logged, and what goes wrong with its line.
  std::function<void(core::GuestRun, const std::string& text)> log;
};

// The daemon's lines to the agents: one for each guest run that was opened. A line that breaks is connected
// again by itself until it is closed; what was asked and not answered is then asked again. Guests are
// hostile: what they say is bounded, checked and never believed beyond their own applications
// (interpreter.hpp); what no agent of ours says becomes an AgentMisbehaved, at most one a second for each
// guest, and nothing else.
//
// All of it runs on the io_context's thread. Events are posted, never delivered from inside a request.
class AgentLinks final : public engine::AgentLink {
 public:
  static constexpr Duration kMisbehavedInterval = std::chrono::seconds(1);
  static constexpr Duration kReconnect = std::chrono::milliseconds(500);
  static constexpr std::size_t kMaxQueuedBytes = 256 * 1024;  // for one guest
  static constexpr Duration kDefaultSilence = std::chrono::seconds(5);

  // Fails when what a guest has to be told of its applications does not fit a message. The io_context and the
  // configuration must outlive it.
  [[nodiscard]] static Result<std::unique_ptr<AgentLinks>> create(boost::asio::io_context& io,
                                                                  const config::Config& config,
                                                                  engine::EventSink sink, Heard heard = {});
  ~AgentLinks() override;

  // Connects to QEMU's socket of this run's agent port, now and again until it is closed.
  void open(core::GuestRun run, std::filesystem::path socket);
  // The same for a run that was started with another configuration.
  void open(core::GuestRun run, std::filesystem::path socket, const Started& started);
  // No event of this run comes after this.
  void close(core::GuestRun run);

  // Where areas are that a former daemon plugged in: a release needs their addresses.
  void remember_areas(core::GuestRun run, std::span<const core::event::PluggedArea> areas);

  // Really causes the fault. False: there is no line to that guest's agent, or it is not the agent who causes
  // this kind (os_hang, vmm_kill). `silence` is how long agent_silence lasts.
  bool drill(core::GuestRun run, core::FaultKind kind, core::AppId app, Duration silence = kDefaultSilence);
  // Asks for the last lines of an application's output, at most so many bytes (no more than
  // protocol::kMaxTailBytes are given). False: there is no line to that guest's agent. A guest that does not
  // answer is not asked again: whoever waits sets the limit.
  bool ask_tail(core::GuestRun run, core::AppId app, std::size_t bytes = protocol::kMaxTailBytes);
  // Its agent has greeted, and the line stands.
  [[nodiscard]] bool connected(core::GuestRun run) const;

  void ask_state(const core::action::AskState& request) override;
  void ask_need(const core::action::AskNeed& request) override;
  void ask_engage(const core::action::AskEngage& request) override;
  void ask_start(const core::action::AskStart& request) override;
  void ask_stop(const core::action::AskStop& request) override;
  void ask_release(const core::action::AskRelease& request) override;
  void answer_growth(const core::action::AnswerGrowth& answer) override;
  void ask_prepare(const core::action::AskPrepare& request) override;

 private:
  AgentLinks(boost::asio::io_context& io, const config::Config& config, engine::EventSink sink, Heard heard);
  void open(core::GuestRun run, std::filesystem::path socket, RunView view);
  [[nodiscard]] Connection* find(core::GuestRun run) const;
  void request(core::GuestRun run, const protocol::ToAgent& message);

  boost::asio::io_context& io_;
  const config::Config& config_;
  std::shared_ptr<const engine::EventSink> sink_;
  std::shared_ptr<const Heard> heard_;
  std::map<core::GuestRun, std::shared_ptr<Connection>> connections_;
};

}  // namespace understudy::link

#pragma once

#include "agent/fault_policy.hpp"
#include "agent/health_monitor.hpp"
#include "agent/host.hpp"
#include "agent/notify_socket.hpp"
#include "agent/output_tail.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace understudy::agent {

// One life of an application's main process, from its fork to its end: executed, ready, healthy, ended.
class Run {
 public:
  struct Handlers {
    std::function<void()> ready;             // once
    std::function<void(Fault)> fault;        // once, and the last thing said
    std::function<void()> container_change;  // something ended
  };

  // The fault (not_executable) is for when there is nothing to run at all.
  [[nodiscard]] static tl::expected<std::unique_ptr<Run>, Fault> launch(
      Host& host, const protocol::Application& definition, Container& container, Container& checks,
      OutputTail& output, Handlers handlers);
  ~Run();

  // Nothing is said any more (it is being ended on purpose); its output is still taken.
  void mute();

  [[nodiscard]] pid_t pid() const { return pid_; }
  // What it has been waiting for since it was executed, for whoever finds that this takes too long.
  [[nodiscard]] std::string why_not_ready() const;
  // The last lines of its output.
  [[nodiscard]] std::string evidence();

 private:
  Run(Host& host, const protocol::Application& definition, OutputTail& all_output, Handlers handlers)
      : host_(host), definition_(definition), handlers_(std::move(handlers)), all_output_(all_output) {}
  bool read_output() { return tail_.read_from(output_.get(), &all_output_); }
  // Reads what became of the exec; the fault, if it failed.
  [[nodiscard]] std::optional<Fault> executed_or_not();
  void main_ended(int wait_status);
  void ready();
  void fault(Fault fault);

  Host& host_;
  protocol::Application definition_;
  Handlers handlers_;
  bool muted_ = false;
  bool is_ready_ = false;
  bool reaped_ = false;
  pid_t pid_ = -1;
  UniqueFd output_;
  UniqueFd exec_error_;
  OutputTail tail_;
  OutputTail& all_output_;  // of this life and those before
  std::unique_ptr<NotifySocket> notify_;
  std::unique_ptr<HealthMonitor> monitor_;
  Loop::Watch output_watch_;
  Loop::Watch exec_watch_;
};

}  // namespace understudy::agent

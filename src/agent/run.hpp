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

  // Of the application, whichever of its lives it is.
  struct Surroundings {
    Container& container;
    Container& checks;
    OutputTail& output;        // has what it writes, too
    Keeper* keeper = nullptr;  // null: it is where everybody is
    Bytes memory_limit_bytes = 0;
  };

  // The main process has ended well and left others running: they may still be about to end as well.
  static constexpr Duration kLastToLeave = std::chrono::milliseconds(500);

  // The fault (not_executable) is for when there is nothing to run at all.
  [[nodiscard]] static tl::expected<std::unique_ptr<Run>, Fault> launch(
      Host& host, const protocol::Application& definition, const Surroundings& around, Handlers handlers);
  ~Run();

  // Nothing is said any more (it is being ended on purpose); its output is still taken.
  void mute();

  [[nodiscard]] pid_t pid() const { return pid_; }
  // What it has not done yet, or not well; empty: it is ready.
  [[nodiscard]] std::string why_not_ready() const;
  // The last lines of its output.
  [[nodiscard]] std::string evidence();

 private:
  Run(Host& host, const protocol::Application& definition, const Surroundings& around, Handlers handlers)
      : host_(host), definition_(definition), around_(around), handlers_(std::move(handlers)) {}
  [[nodiscard]] Result<void> listen_for_readiness(const Namespaces& namespaces, const User& user);
  [[nodiscard]] SpawnRequest request(const Namespaces& namespaces, const User& user) const;
  void watch(SpawnRequest request);
  bool read_output() { return tail_.read_from(output_.get(), &around_.output); }
  // Reads what became of the exec; the fault, if it failed.
  [[nodiscard]] std::optional<Fault> executed_or_not();
  void main_ended(int wait_status);
  // The others of it that live; empty: none.
  [[nodiscard]] std::string left_behind() const;
  void ready();
  void fault(Fault fault);

  Host& host_;
  protocol::Application definition_;
  Surroundings around_;
  Handlers handlers_;
  bool muted_ = false;
  bool is_ready_ = false;
  bool reaped_ = false;
  pid_t pid_ = -1;
  UniqueFd output_;
  UniqueFd exec_error_;
  OutputTail tail_;
  std::unique_ptr<NotifySocket> notify_;
  std::string notify_path_;  // as the application sees it
  std::unique_ptr<HealthMonitor> monitor_;
  Loop::Watch output_watch_;
  Loop::Watch exec_watch_;
  Time began_ = Loop::now();
  Loop::Timer last_to_leave_;
};

}  // namespace understudy::agent

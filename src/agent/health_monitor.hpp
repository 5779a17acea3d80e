#pragma once

#include "agent/health_check.hpp"

#include <functional>

namespace understudy::agent {

// Checks one run of an application again and again. Until the first check has passed it tries in quick
// succession, so that readiness is seen at once; from then on at the configured interval.
class HealthMonitor {
 public:
  struct Handlers {
    std::function<void()> passed_first;
    std::function<void(std::string why)> failed;  // once; it ends itself before
  };

  static constexpr Duration kQuickRetry = std::chrono::milliseconds(2);       // tcp: some 0.1 ms of work each
  static constexpr Duration kQuickRetryExec = std::chrono::milliseconds(20);  // a process each

  HealthMonitor(Loop& loop, Children& children, protocol::Health health, pid_t main_process,
                SpawnRequest command, Handlers handlers);

  // ready: the application has said itself that it is ready; no first pass is awaited.
  void start(bool ready);

 private:
  void check();
  void checked(Result<void> result);

  Loop& loop_;
  protocol::Health health_;
  Handlers handlers_;
  HealthCheck check_;
  bool passed_ = false;
  std::uint32_t failures_ = 0;
  Time checked_at_;
  Loop::Timer next_;
};

}  // namespace understudy::agent

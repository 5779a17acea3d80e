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

  // Between two attempts before the first pass: every check takes time from the very start that it waits for
  // (0.7 ms on an emulated CPU, where 2 ms between them made a start a third longer), so the longer the start
  // takes, the less it is looked at: an eighth of the time so far, within these bounds.
  static constexpr Duration kQuickestRetry = std::chrono::milliseconds(5);
  static constexpr Duration kSlowestRetry = std::chrono::milliseconds(20);
  static constexpr int kRetryDivisor = 8;

  HealthMonitor(Loop& loop, Children& children, protocol::Health health, pid_t main_process,
                SpawnRequest command, Handlers handlers);

  // ready: the application has said itself that it is ready; no first pass is awaited.
  void start(bool ready);
  // Why the last check failed; empty: it passed, or there was none.
  [[nodiscard]] const std::string& last_failure() const { return last_failure_; }

 private:
  void check();
  void checked(Result<void> result);

  Loop& loop_;
  protocol::Health health_;
  Handlers handlers_;
  HealthCheck check_;
  bool passed_ = false;
  std::uint32_t failures_ = 0;
  std::string last_failure_;
  Time started_at_;
  Time checked_at_;
  Loop::Timer next_;
};

}  // namespace understudy::agent

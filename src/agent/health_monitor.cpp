#include "agent/health_monitor.hpp"

#include <algorithm>

namespace understudy::agent {

HealthMonitor::HealthMonitor(Loop& loop, Children& children, protocol::Health health, pid_t main_process,
                             SpawnRequest command, Handlers handlers)
    : loop_(loop),
      health_(health),
      handlers_(std::move(handlers)),
      check_(loop, children, std::move(health), main_process, std::move(command)) {}

void HealthMonitor::start(bool ready) {
  passed_ = ready;
  started_at_ = Loop::now();
  next_ = loop_.after(ready ? std::chrono::milliseconds(health_.interval_ms) : Duration::zero(),
                      [this] { check(); });
}

void HealthMonitor::check() {
  checked_at_ = Loop::now();
  check_.run([this](Result<void> result) { checked(std::move(result)); });
}

void HealthMonitor::checked(Result<void> result) {
  const Duration interval = std::chrono::milliseconds(health_.interval_ms);
  last_failure_ = result ? "" : result.error().message;
  if (!passed_ && !result) {
    const Duration so_far = Loop::now() - started_at_;
    const bool process_each = health_.kind == protocol::HealthKind::exec;
    const Duration retry =
        std::clamp(so_far / kRetryDivisor, process_each ? kSlowestRetry : kQuickestRetry, kSlowestRetry);
    next_ = loop_.after(retry, [this] { check(); });
    return;
  }
  failures_ = result ? 0 : failures_ + 1;
  if (failures_ >= health_.failures) {
    const auto failed = handlers_.failed;  // destroys us
    return failed("its health check failed " +
                  (failures_ == 1 ? "once: " : std::to_string(failures_) + " times in a row: ") +
                  result.error().message);
  }
  next_ = loop_.at(checked_at_ + interval, [this] { check(); });
  if (!std::exchange(passed_, true)) {
    const auto passed_first = handlers_.passed_first;
    passed_first();
  }
}

}  // namespace understudy::agent

#include "qemu/host_bytes.hpp"

#include "base/signals_blocked.hpp"

namespace understudy::qemu {

HostBytes::HostBytes() {
  const SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

std::optional<HostMemory> HostBytes::of(pid_t pid, bool may_measure) {
  if (pid <= 0) return std::nullopt;
  {
    const std::lock_guard lock(mutex_);
    Known& known = known_[pid];
    const auto now = std::chrono::steady_clock::now();
    if (may_measure && now - known.at >= kInterval) {
      known.at = now;
      wanted_.insert(pid);
      changed_.notify_one();
    }
    if (known.memory) return known.memory;
  }
  return resident_memory(pid);
}

void HostBytes::forget(pid_t pid) {
  const std::lock_guard lock(mutex_);
  known_.erase(pid);
  wanted_.erase(pid);
}

void HostBytes::run(const std::stop_token& stop) {
  while (true) {
    pid_t pid = 0;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return !wanted_.empty(); }) || stop.stop_requested()) return;
      pid = *wanted_.begin();
      wanted_.erase(wanted_.begin());
    }
    const auto memory = proportional_memory(pid);
    const std::lock_guard lock(mutex_);
    if (const auto found = known_.find(pid); memory && found != known_.end()) found->second.memory = memory;
  }
}

}  // namespace understudy::qemu

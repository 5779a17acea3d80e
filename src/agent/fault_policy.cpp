#include "agent/fault_policy.hpp"

#include "base/counted.hpp"

#include <algorithm>

namespace understudy::agent {

namespace {

Duration milliseconds(std::uint64_t ms) {
  return std::chrono::milliseconds(ms);
}

}  // namespace

FaultPolicy::Decision FaultPolicy::decide(const Fault& fault, Bytes memory_limit_bytes, Time now) {
  switch (fault.kind) {
    case FaultKind::out_of_memory:
      return AskMemory{std::max(kLeastMoreBytes, memory_limit_bytes / kMoreDivisor)};
    case FaultKind::not_executable: return GiveUp{fault.text, protocol::FaultLevel::unrecoverable};
    case FaultKind::ended:
    case FaultKind::unhealthy:
    case FaultKind::not_ready: return restart_or_give_up(fault.text, now);
  }
  return GiveUp{fault.text, protocol::FaultLevel::unrecoverable};
}

FaultPolicy::Decision FaultPolicy::memory_refused(const std::string& why, Time now) {
  return restart_or_give_up("out of memory, and more was not given: " + why, now);
}

FaultPolicy::Decision FaultPolicy::restart_or_give_up(const std::string& text, Time now) {
  if (hot_standby_ && restart_.first == protocol::FirstResort::takeover) {
    return GiveUp{text + "; its first resort is takeover", protocol::FaultLevel::recoverable};
  }
  if (restart_.attempts == 0) {
    return GiveUp{text + "; restarts in place are switched off", protocol::FaultLevel::recoverable};
  }
  const Duration window = milliseconds(restart_.window_ms);
  while (!attempts_.empty() && attempts_.front() + window <= now) attempts_.pop_front();
  if (attempts_.size() >= restart_.attempts) {
    return GiveUp{
        text + ", " + counted(restart_.attempts, "restart") + " in " + format_duration(window) + " used up",
        protocol::FaultLevel::recoverable};
  }
  const std::size_t before = attempts_.size();
  attempts_.push_back(now);
  // Stops at the maximum, so no number of attempts can overflow it.
  Duration delay = milliseconds(restart_.delay_ms);
  const Duration most = std::max(delay, milliseconds(restart_.maximum_delay_ms));
  for (std::size_t i = 0; i < before && delay < most && delay > Duration::zero(); ++i) delay *= 2;
  return RestartInPlace{static_cast<std::uint32_t>(attempts_.size()), std::min(delay, most)};
}

}  // namespace understudy::agent

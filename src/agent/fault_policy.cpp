#include "agent/fault_policy.hpp"

#include "base/counted.hpp"

#include <algorithm>

namespace understudy::agent {

namespace {

constexpr std::size_t kMostDoublings = 64;

void forget_before(std::deque<Time>& times, Time oldest) {
  while (!times.empty() && times.front() <= oldest) times.pop_front();
}

}  // namespace

FaultPolicy::Decision FaultPolicy::decide(const Fault& fault, Bytes memory_limit_bytes, Time now) {
  switch (fault.kind) {
    case FaultKind::out_of_memory:
      return AskMemory{std::max(kLeastMoreBytes, memory_limit_bytes / kMoreDivisor)};
    case FaultKind::not_executable: return GiveUp{fault.text, protocol::FaultLevel::unrecoverable};
    case FaultKind::in_background: return GiveUp{fault.text, protocol::FaultLevel::unrecoverable, true};
    case FaultKind::guest_out_of_memory:
      if (fault.blameless) return restart_uncounted(now);
      return restart_or_give_up(fault.text, now);
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
  const Duration window = std::chrono::milliseconds(restart_.window_ms);
  forget_before(attempts_, now - window);
  if (attempts_.size() >= restart_.attempts) {
    return GiveUp{
        text + ", " + counted(restart_.attempts, "restart") + " in " + format_duration(window) + " used up",
        protocol::FaultLevel::recoverable};
  }
  const Duration delay = delay_after(attempts_.size());
  attempts_.push_back(now);
  return RestartInPlace{static_cast<std::uint32_t>(attempts_.size()), delay};
}

// Where it is, as often as it takes: nothing that it could do, nor another guest, would be better.
FaultPolicy::RestartInPlace FaultPolicy::restart_uncounted(Time now) {
  forget_before(uncounted_, now - std::chrono::milliseconds(restart_.window_ms));
  const Duration delay = delay_after(std::min(uncounted_.size(), kMostDoublings));
  uncounted_.push_back(now);
  if (uncounted_.size() > kMostDoublings) uncounted_.pop_front();
  return {0, delay};
}

Duration FaultPolicy::delay_after(std::size_t before) const {
  // Stops at the maximum, so no number of attempts can overflow it.
  Duration delay = std::chrono::milliseconds(restart_.delay_ms);
  const Duration most = std::max<Duration>(delay, std::chrono::milliseconds(restart_.maximum_delay_ms));
  for (std::size_t i = 0; i < before && delay < most && delay > Duration::zero(); ++i) delay *= 2;
  return std::min(delay, most);
}

}  // namespace understudy::agent

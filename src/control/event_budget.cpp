#include "control/event_budget.hpp"

#include "core/notice_kinds.hpp"

#include <algorithm>

namespace understudy::control {

bool EventBudget::admits(Time at, const core::Notice& notice) {
  if (!notice.guest || !core::is_talk_of_a_guest(notice.kind)) return true;
  Guest& guest = guests_[*notice.guest];
  Budget& budget = guest.kinds.try_emplace(notice.kind, Budget{.counted = at}).first->second;
  const auto more = std::max<Duration::rep>(0, (at - budget.counted) / kOneMoreEach);
  budget.left = static_cast<std::uint32_t>(std::min<Duration::rep>(kAtOnce, budget.left + more));
  budget.counted = budget.left == kAtOnce ? at : budget.counted + more * kOneMoreEach;
  if (budget.left > 0) {
    --budget.left;
    return true;
  }
  ++guest.held[notice.kind];
  some_held_ = true;
  return false;
}

std::vector<core::Notice> EventBudget::held_back(Time at) {
  std::vector<core::Notice> notices;
  if (!some_held_) return notices;
  some_held_ = false;
  for (auto& [id, guest] : guests_) {
    if (guest.held.empty()) continue;
    if (guest.told && at - guest.told_at < kTellEach) {
      some_held_ = true;
      continue;
    }
    std::uint64_t sum = 0;
    std::string kinds;
    for (const auto& [kind, count] : guest.held) {
      sum += count;
      kinds += (kinds.empty() ? "" : ", ") + kind + " " + std::to_string(count);
    }
    const std::string text = setup_.guest(id).name + " talks too much: " + std::to_string(sum) +
                             (sum == 1 ? " more event was" : " more events were") + " held back (" + kinds +
                             "); it has " + std::to_string(kAtOnce) + " of a kind, and then one more every " +
                             format_duration(kOneMoreEach);
    notices.push_back({core::Severity::warning, "events-held-back", text, id, {}});
    guest.held.clear();
    guest.told = true;
    guest.told_at = at;
  }
  return notices;
}

}  // namespace understudy::control

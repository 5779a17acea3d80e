#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <deque>
#include <optional>
#include <vector>

namespace understudy::core {

// The latest durations of one kind on this host. Measured since the daemon started; a prediction needs no
// more.
class Measured {
 public:
  static constexpr std::size_t kKept = 9;

  void add(Duration duration) {
    kept_.push_back(duration);
    if (kept_.size() > kKept) kept_.pop_front();
  }
  [[nodiscard]] std::size_t count() const { return kept_.size(); }
  // Of at least one.
  [[nodiscard]] Duration shortest() const { return *std::min_element(kept_.begin(), kept_.end()); }
  [[nodiscard]] Duration longest() const { return *std::max_element(kept_.begin(), kept_.end()); }
  [[nodiscard]] std::optional<Duration> median() const {
    if (kept_.empty()) return std::nullopt;
    std::vector<Duration> sorted(kept_.begin(), kept_.end());
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }

 private:
  std::deque<Duration> kept_;
};

}  // namespace understudy::core

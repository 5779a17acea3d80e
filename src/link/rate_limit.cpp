#include "link/rate_limit.hpp"

#include <algorithm>
#include <utility>

namespace understudy::link {

double TokenBucket::tokens(Time now) const {
  const double seconds = std::chrono::duration<double>(now - at_).count();
  return std::min(per_second_, tokens_ + std::max(seconds, 0.0) * per_second_);
}

void TokenBucket::take(double tokens, Time now) {
  tokens_ = this->tokens(now) - tokens;
  at_ = now;
}

Duration TokenBucket::debt(Time now) const {
  const double left = tokens(now);
  if (left >= 0) return Duration::zero();
  return std::chrono::ceil<Duration>(std::chrono::duration<double>(-left / per_second_));
}

bool Occasionally::now(Time at, std::uint64_t& held_back) {
  if (ever_ && at - last_ < interval_) {
    ++held_back_;
    return false;
  }
  ever_ = true;
  last_ = at;
  held_back = std::exchange(held_back_, 0);
  return true;
}

}  // namespace understudy::link

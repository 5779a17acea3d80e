#pragma once

#include "base/time.hpp"

#include <cstdint>

namespace understudy::link {

// How much a guest may say. Ordinary agents stay far below: a beat every few milliseconds, a few answers.
inline constexpr double kMessagesPerSecond = 1000;
inline constexpr double kBytesPerSecond = 512 * 1024;
// Each is answered by a welcome, which may be long. Ordinary agents say two when the line is new.
inline constexpr double kHellosPerSecond = 4;

// A bucket that holds one second's worth. What is taken beyond it is a debt, to be waited for.
class TokenBucket {
 public:
  TokenBucket(double per_second, Time now) : per_second_(per_second), tokens_(per_second), at_(now) {}

  void take(double tokens, Time now);
  // How long until the debt is paid; zero when there is none.
  [[nodiscard]] Duration debt(Time now) const;

 private:
  [[nodiscard]] double tokens(Time now) const;

  double per_second_;
  double tokens_;
  Time at_;
};

// At most one of something per interval, and how many were held back since the last one.
class Occasionally {
 public:
  explicit Occasionally(Duration interval) : interval_(interval) {}

  // True: now. Then `held_back` says how many were not since the last time.
  [[nodiscard]] bool now(Time at, std::uint64_t& held_back);

 private:
  Duration interval_;
  bool ever_ = false;
  Time last_;
  std::uint64_t held_back_ = 0;
};

}  // namespace understudy::link

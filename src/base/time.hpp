#pragma once

#include <chrono>
#include <cstdint>

namespace understudy {

// The clock that every decision is timed by. It has no now(): time is an argument, and only the engine's
// clock port reads a real one, so the simulator can run the same code in virtual time.
struct Monotonic {
  using duration = std::chrono::microseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Monotonic>;
  static constexpr bool is_steady = true;
};

using Duration = Monotonic::duration;
using Time = Monotonic::time_point;

[[nodiscard]] inline double to_ms(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace understudy

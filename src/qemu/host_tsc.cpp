#include "qemu/host_tsc.hpp"

#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include <chrono>
#include <thread>

namespace understudy::qemu {

#ifdef __x86_64__

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kMeasured = std::chrono::milliseconds(20);
constexpr int kTries = 32;

struct Moment {
  std::uint64_t ticks = 0;
  Clock::time_point at;
};

// Both clocks at once: of many attempts the one in which least time passed between the two looks around it.
Moment now() {
  Moment best;
  auto least = Clock::duration::max();
  for (int i = 0; i < kTries; ++i) {
    const auto before = Clock::now();
    const std::uint64_t ticks = __rdtsc();
    const auto passed = Clock::now() - before;
    if (passed >= least) continue;
    least = passed;
    best = {ticks, before + passed / 2};
  }
  return best;
}

}  // namespace

std::uint64_t host_tsc_khz() {
  const Moment begin = now();
  std::this_thread::sleep_for(kMeasured);
  const Moment end = now();
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(end.at - begin.at).count();
  return ns <= 0 || end.ticks <= begin.ticks
             ? 0
             : (end.ticks - begin.ticks) * 1'000'000 / static_cast<std::uint64_t>(ns);
}

#else

std::uint64_t host_tsc_khz() {
  return 0;
}

#endif

}  // namespace understudy::qemu

#include "base/descriptors.hpp"

#include <sys/resource.h>

#include <algorithm>

namespace understudy {

namespace {

// More than this is of no use to anybody, and no number to reckon with.
constexpr rlim_t kMostDescriptors = 1 << 20;

std::size_t limit_now() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<std::size_t>(std::min(limit.rlim_cur, kMostDescriptors));
}

}  // namespace

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = std::min(limit.rlim_max, std::max(limit.rlim_cur, kMostDescriptors));
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit_now();
}

bool is_reserved(int descriptor) {
  return static_cast<std::size_t>(descriptor) + kReservedDescriptors >= limit_now();
}

}  // namespace understudy

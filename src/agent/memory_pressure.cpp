#include "agent/memory_pressure.hpp"

#include "base/kernel_files.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace understudy::agent {

namespace {

constexpr Bytes kNearLimitDivisor = 16;
// Pressure that was told longer ago is another matter.
constexpr Duration kMemory = std::chrono::seconds(30);
constexpr Bytes kLeastFileBytes = 256_KiB;
constexpr double kCrawlTimesPerSecond = 4;  // seen crawling: 20 to 40

}  // namespace

MemoryStat parse_memory_stat(std::string_view text) {
  MemoryStat stat;
  stat.anonymous_bytes = counter(text, "anon");
  stat.shared_bytes = counter(text, "shmem");
  const Bytes page_cache = counter(text, "file");
  stat.file_bytes = page_cache - std::min(page_cache, stat.shared_bytes);
  stat.file_refaults = counter(text, "workingset_refault_file");
  // "sock" is counted apart from what the kernel allocates itself ("kernel", Linux 5.18).
  stat.kernel_bytes = counter(text, "kernel") + counter(text, "sock");
  return stat;
}

bool CrawlJudge::crawls(const MemoryStat& stat, std::optional<Bytes> limit, Time now) {
  if (!limit || stat.kept_bytes() < *limit - *limit / kNearLimitDivisor) {
    last_.reset();
    return false;
  }
  const auto last = std::exchange(last_, Seen{now, stat.file_refaults});
  if (!last || now <= last->at || now - last->at > kMemory) return false;
  const Bytes file_bytes = std::max(stat.file_bytes, kLeastFileBytes);
  const auto read_again = static_cast<double>(
      (stat.file_refaults - std::min(last->file_refaults, stat.file_refaults)) * kPageBytes);
  const double times = read_again / static_cast<double>(file_bytes);
  return times >= kCrawlTimesPerSecond * std::chrono::duration<double>(now - last->at).count();
}

}  // namespace understudy::agent

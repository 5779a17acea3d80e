#pragma once

#include "base/time.hpp"
#include "base/units.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace understudy::agent {

// What a cgroup's memory.stat says (Documentation/admin-guide/cgroup-v2.rst of Linux); what it does not say
// is 0.
struct MemoryStat {
  Bytes anonymous_bytes = 0;  // "anon"
  Bytes shared_bytes = 0;     // "shmem", tmpfs included
  Bytes file_bytes = 0;       // "file" without "shmem": what the kernel can drop and read in again
  std::uint64_t file_refaults =
      0;  // "workingset_refault_file": pages read in again soon after they were dropped

  Bytes kernel_bytes = 0;  // held by the kernel for it: network buffers, page tables, stacks, open files

  // What only swapping, which these guests do not, would give back.
  [[nodiscard]] Bytes kept_bytes() const { return anonymous_bytes + shared_bytes; }
};
[[nodiscard]] MemoryStat parse_memory_stat(std::string_view text);

// Tells an application that crawls at its limit from one that works: what it allocated fills the limit, and
// the kernel drops the last pages of its program and reads them in again, all of them many times a second,
// and so neither lets it run nor kills it. The share of time that it waits says little, because reading pages
// in from a compressed disk counts as work (seen: Redis at its limit answers nobody for minutes at 25 %).
class CrawlJudge {
 public:
  // Whenever the kernel tells of pressure; limit: absent when there is none. True: it has crawled since the
  // last time.
  [[nodiscard]] bool crawls(const MemoryStat& stat, std::optional<Bytes> limit, Time now);

 private:
  struct Seen {
    Time at{};
    std::uint64_t file_refaults = 0;
  };
  std::optional<Seen> last_;  // when it was told last, if it was at its limit
};

}  // namespace understudy::agent

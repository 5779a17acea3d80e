#pragma once

#include "base/units.hpp"

#include <algorithm>

// How much memory an application needs beyond what its guest has. docs/agent-protocol.md states the rule.
namespace understudy::agent {

// What the OS keeps: the kernel takes hot-plugged memory in with what is free (page tables, the memmap of
// memory that does not carry its own) and the agent forks; a guest with less free than this failed to attach.
inline constexpr Bytes kOsReserveBytes = 32_MiB;
// Stacks, page tables, what the kernel charges to the application's cgroup.
inline constexpr Bytes kApplicationMarginBytes = 4_MiB;
// 64 bytes of struct page for each 4 KiB page: this part of hot-plugged memory is its own memmap.
inline constexpr Bytes kMemmapDivisor = 64;

struct NeedOfApplication {
  Bytes required_bytes = 0;
  Bytes available_bytes = 0;
  Bytes missing_bytes = 0;
};

[[nodiscard]] constexpr NeedOfApplication compute_need(Bytes memory_bytes, Bytes mem_available_bytes) {
  NeedOfApplication need;
  need.required_bytes = memory_bytes + kApplicationMarginBytes;
  need.available_bytes = mem_available_bytes - std::min(mem_available_bytes, kOsReserveBytes);
  const Bytes short_by = need.required_bytes - std::min(need.required_bytes, need.available_bytes);
  // x bytes of use take x * 64/63 bytes of plugged memory.
  need.missing_bytes = short_by + (short_by + kMemmapDivisor - 2) / (kMemmapDivisor - 1);
  return need;
}

}  // namespace understudy::agent

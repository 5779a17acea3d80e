#pragma once

#include "base/units.hpp"

#include <algorithm>

// What hot-plugged memory costs a guest's OS, and what is kept back for the OS and beside an application.
// Agents compute by these rules what an application lacks, the core what would become of a failure, the
// simulator both. docs/agent-protocol.md, "How much is missing", states them.
namespace understudy {

// 64 bytes of struct page for each 4 KiB page: this part of hot-plugged memory is its own memmap.
inline constexpr Bytes kMemmapDivisor = 64;
// What the OS keeps: the kernel takes hot-plugged memory in with what is free (page tables, the memmap of
// memory that does not carry its own) and the agent forks; real guests with less free leaked memory and hung.
inline constexpr Bytes kOsReserveBytes = 32_MiB;
// Stacks, page tables, what the kernel charges to the application's cgroup.
inline constexpr Bytes kApplicationMarginBytes = 4_MiB;
// The size up to which an area carries its own struct pages (memmap_on_memory, one memory block).
inline constexpr Bytes kSelfCarryingBytes = 128_MiB;

// What applications may use of so much plugged memory. Of what plugged_bytes() says it is exactly what was
// asked for.
[[nodiscard]] constexpr Bytes usable_bytes(Bytes plugged) {
  return plugged - (plugged + kMemmapDivisor - 1) / kMemmapDivisor;
}

// What has to be plugged for so much use.
[[nodiscard]] constexpr Bytes plugged_bytes(Bytes used) {
  return used + (used + kMemmapDivisor - 2) / (kMemmapDivisor - 1);
}

// What an application may use of the base memory of a guest that has so much available.
[[nodiscard]] constexpr Bytes base_use_bytes(Bytes available_bytes) {
  return available_bytes - std::min(available_bytes, kOsReserveBytes + kApplicationMarginBytes);
}

struct NeedOfApplication {
  Bytes required_bytes = 0;
  Bytes available_bytes = 0;
  Bytes missing_bytes = 0;
};

// For one that is to be able to use memory_bytes.
[[nodiscard]] constexpr NeedOfApplication compute_need(Bytes memory_bytes, Bytes mem_available_bytes) {
  NeedOfApplication need;
  need.required_bytes = memory_bytes + kApplicationMarginBytes;
  need.available_bytes = mem_available_bytes - std::min(mem_available_bytes, kOsReserveBytes);
  need.missing_bytes =
      plugged_bytes(need.required_bytes - std::min(need.required_bytes, need.available_bytes));
  return need;
}

}  // namespace understudy

#pragma once

#include "base/units.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace understudy::agent {

// The kernel's memory blocks: the unit in which memory goes online and offline (/sys/devices/system/memory).
class MemoryBlocks {
 public:
  using Block = std::uint64_t;  // the N of memoryN: address / block size

  enum class State { absent, online, offline, going_offline };

  explicit MemoryBlocks(std::string directory = "/sys/devices/system/memory");

  // 0: this kernel has no memory hot-plug.
  [[nodiscard]] Bytes block_bytes() const { return block_bytes_; }
  // The blocks that cover [address, address + bytes), which must start and end on block boundaries.
  [[nodiscard]] Result<std::set<Block>> covering(std::uint64_t address, Bytes bytes) const;

  [[nodiscard]] State state(Block block) const;
  // Looks at every block: for the start, not for a takeover.
  [[nodiscard]] std::set<Block> online_blocks() const;
  // Whether it came by hot-plug: only such memory is movable here. One that is not online has no zone.
  [[nodiscard]] bool is_movable(Block block) const;
  // Whether the kernel onlines new blocks by itself.
  [[nodiscard]] bool onlines_by_itself() const;

  // As movable, so that it can go offline again.
  [[nodiscard]] Result<void> online(Block block) const;
  // May take for ever while pages of the block are in use; a signal ends it (EINTR).
  [[nodiscard]] Result<void> offline(Block block) const;

 private:
  [[nodiscard]] std::string file(Block block, const char* name) const;

  std::string directory_;
  Bytes block_bytes_ = 0;
};

// "memory36" -> 36, from the last component of a uevent's DEVPATH or a directory entry.
[[nodiscard]] std::optional<MemoryBlocks::Block> block_number(std::string_view name);

}  // namespace understudy::agent

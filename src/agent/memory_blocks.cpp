#include "agent/memory_blocks.hpp"

#include "base/kernel_files.hpp"

#include <utility>

namespace understudy::agent {

namespace {

constexpr std::string_view kBlockPrefix = "memory";
// More blocks than any area has; a request for more is a mistake, not work.
constexpr std::uint64_t kMaxBlocksOfAnArea = 4096;

}  // namespace

std::optional<MemoryBlocks::Block> block_number(std::string_view name) {
  if (!name.starts_with(kBlockPrefix)) return std::nullopt;
  return parse_number(name.substr(kBlockPrefix.size()));
}

MemoryBlocks::MemoryBlocks(std::string directory) : directory_(std::move(directory)) {
  const auto text = read_file(directory_ + "/block_size_bytes");
  if (text) block_bytes_ = parse_number(trim(*text), 16).value_or(0);
}

Result<std::set<MemoryBlocks::Block>> MemoryBlocks::covering(std::uint64_t address, Bytes bytes) const {
  if (block_bytes_ == 0) return failure("this guest's kernel has no memory hot-plug");
  if (bytes == 0 || address % block_bytes_ != 0 || bytes % block_bytes_ != 0) {
    return failure("memory at " + std::to_string(address) + ", " + std::to_string(bytes) +
                   " bytes, is not made of whole blocks of " + std::to_string(block_bytes_) + " bytes");
  }
  if (bytes / block_bytes_ > kMaxBlocksOfAnArea)
    return failure("an area of " + format_size(bytes) + " is too large");
  std::set<Block> blocks;
  for (Bytes at = 0; at < bytes; at += block_bytes_) blocks.insert((address + at) / block_bytes_);
  return blocks;
}

std::string MemoryBlocks::file(Block block, const char* name) const {
  return directory_ + "/memory" + std::to_string(block) + "/" + name;
}

MemoryBlocks::State MemoryBlocks::state(Block block) const {
  const auto text = read_file(file(block, "state"));
  if (!text) return State::absent;
  const std::string_view word = trim(*text);
  if (word == "online") return State::online;
  return word == "going-offline" ? State::going_offline : State::offline;
}

std::set<MemoryBlocks::Block> MemoryBlocks::online_blocks() const {
  std::set<Block> blocks;
  for (const std::string& name : list_directory(directory_)) {
    const auto block = block_number(name);
    if (block && state(*block) == State::online) blocks.insert(*block);
  }
  return blocks;
}

bool MemoryBlocks::is_movable(Block block) const {
  const auto text = read_file(file(block, "valid_zones"));
  return text && trim(*text) == "Movable";
}

bool MemoryBlocks::onlines_by_itself() const {
  const auto text = read_file(directory_ + "/auto_online_blocks");
  return text && trim(*text) != "offline";
}

Result<void> MemoryBlocks::online(Block block) const {
  return write_file(file(block, "state"), "online_movable");
}

Result<void> MemoryBlocks::offline(Block block) const {
  return write_file(file(block, "state"), "offline");
}

}  // namespace understudy::agent

#pragma once

#include "agent/loop.hpp"
#include "agent/meminfo.hpp"
#include "agent/memory_blocks.hpp"
#include "agent/uevents.hpp"
#include "protocol/messages.hpp"

#include <functional>
#include <list>
#include <map>
#include <set>
#include <string>

namespace understudy::agent {

// Confirms from inside the guest that plugged areas are memory: every block online, MemTotal grown by them.
// It waits for the kernel's events; nothing is polled.
class Engager {
 public:
  using Send = std::function<void(protocol::FromAgent)>;
  using ReadMemory = std::function<MemInfo()>;

  static constexpr std::size_t kMostPending = 64;
  static constexpr Duration kLimit = std::chrono::seconds(10);
  // A kernel that was told to online blocks itself and has not: it is done for it after this.
  static constexpr Duration kOnlineForIt = std::chrono::seconds(5);
  // Page tables, per-CPU lists and the like may be taken from MemTotal when memory comes.
  static constexpr Bytes kTotalSlackBytes = 4_MiB;

  // read_memory is asked only later.
  Engager(Loop& loop, const MemoryBlocks& blocks, Bytes total_at_start_bytes, ReadMemory read_memory,
          Send send);

  void engage(const protocol::to_agent::Engage& request);
  void on_uevent(const Uevent& event);
  void look_again();  // events were lost

  // Another daemon has other numbers for the applications; those that are not named are no more.
  void renumber(const std::map<protocol::AppNumber, protocol::AppNumber>& now_by_before);

  // What applications may use of the areas that are engaged for this one.
  [[nodiscard]] Bytes engaged_bytes(protocol::AppNumber app) const;
  // The same of plugged memory that is not engaged for anybody (yet): the kernel counts it as free.
  [[nodiscard]] Bytes unengaged_bytes() const;

 private:
  struct Pending {
    protocol::to_agent::Engage request;
    std::set<MemoryBlocks::Block> blocks;       // of its areas
    std::set<MemoryBlocks::Block> waiting_for;  // those of them not seen online yet
    bool kernel_onlines = true;                 // by itself
    Loop::Timer help;
    Loop::Timer limit;
  };

  void settle(std::list<Pending>::iterator pending);
  // Onlines what is offline; the first thing that the kernel said against it.
  std::string online_offline_blocks(const Pending& pending);
  void give_up(std::list<Pending>::iterator pending);
  void fail(const protocol::to_agent::Engage& request, const std::string& why);
  [[nodiscard]] bool came_by_hot_plug(MemoryBlocks::Block block) const;
  void went_offline(MemoryBlocks::Block block);
  [[nodiscard]] Bytes usable_of(std::size_t blocks) const;
  // What MemTotal must be at least, given the engaged blocks.
  [[nodiscard]] Bytes least_total_bytes() const;

  Loop& loop_;
  const MemoryBlocks& blocks_;
  ReadMemory read_memory_;
  Send send_;
  Bytes total_at_start_bytes_;
  std::set<MemoryBlocks::Block> online_at_start_;
  std::set<MemoryBlocks::Block> plugged_;  // online, and came by hot-plug
  // Confirmed since the start, and not taken offline since; for whom.
  std::map<MemoryBlocks::Block, protocol::AppNumber> engaged_;
  std::list<Pending> pending_;
};

}  // namespace understudy::agent

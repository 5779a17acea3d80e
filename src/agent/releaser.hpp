#pragma once

#include "agent/children.hpp"
#include "agent/memory_blocks.hpp"
#include "protocol/messages.hpp"

#include <functional>
#include <list>
#include <string>

namespace understudy::agent {

// Takes areas offline. Writing "offline" can block for as long as somebody uses a page of the block, so a
// forked child does it while the agent goes on beating; a signal ends the kernel's loop when the limit is
// reached. Areas that are then not wholly offline are put back online.
class Releaser {
 public:
  using Send = std::function<void(protocol::FromAgent)>;
  using DescribeUse = std::function<std::string()>;

  static constexpr std::size_t kMostPending = 16;
  // The answer must be back within the request's limit. Ending a blocked write takes up to 0.3 s, putting
  // areas back online some more: that much of the limit is kept for it, but not more than a third.
  static constexpr Duration kEndingBlockedWrite = std::chrono::milliseconds(400);
  static constexpr Duration kPuttingBack = std::chrono::milliseconds(300);
  static constexpr int kLargestPartForEnding = 3;

  // drop_caches: /proc/sys/vm/drop_caches, or a file in its place in tests.
  Releaser(Loop& loop, Children& children, const MemoryBlocks& blocks, std::string drop_caches, Send send,
           DescribeUse describe_use = {});

  void release(const protocol::to_agent::Release& request);

 private:
  struct Pending {
    protocol::to_agent::Release request;
    pid_t pid = -1;
    UniqueFd errors;  // the child's first error, as text
    bool cut_short = false;
    Loop::Timer limit;
  };

  void begin(std::list<Pending>::iterator pending);
  void cut(std::list<Pending>::iterator pending);
  void finish(std::list<Pending>::iterator pending);
  [[nodiscard]] bool wholly_offline(const protocol::Area& area) const;
  [[nodiscard]] std::string why_not_all(const protocol::to_agent::Release& request,
                                        const std::vector<protocol::AreaNumber>& released) const;
  void put_back(const protocol::Area& area) const;

  Loop& loop_;
  Children& children_;
  const MemoryBlocks& blocks_;
  std::string drop_caches_;
  Send send_;
  DescribeUse describe_use_;  // who uses the memory that does not go
  std::list<Pending> pending_;
};

}  // namespace understudy::agent

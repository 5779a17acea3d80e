#include "agent/engager.hpp"

#include "base/memory_rules.hpp"

#include <algorithm>

namespace understudy::agent {

namespace {

std::vector<protocol::AreaNumber> ids_of(const std::vector<protocol::Area>& areas) {
  std::vector<protocol::AreaNumber> ids;
  for (const auto& area : areas) ids.push_back(area.id);
  return ids;
}

}  // namespace

Engager::Engager(Loop& loop, const MemoryBlocks& blocks, Bytes total_at_start_bytes, ReadMemory read_memory,
                 Send send)
    : loop_(loop),
      blocks_(blocks),
      read_memory_(std::move(read_memory)),
      send_(std::move(send)),
      total_at_start_bytes_(total_at_start_bytes),
      online_at_start_(blocks.online_blocks()) {
  for (const auto block : online_at_start_) {
    if (came_by_hot_plug(block)) plugged_.insert(block);
  }
}

void Engager::engage(const protocol::to_agent::Engage& request) {
  // A repetition replaces what it repeats.
  pending_.remove_if([&](const Pending& other) { return other.request == request; });
  if (pending_.size() >= kMostPending) return fail(request, "too many requests to engage memory at once");
  Pending pending;
  pending.request = request;
  pending.kernel_onlines = blocks_.onlines_by_itself();
  for (const auto& area : request.areas) {
    auto covering = blocks_.covering(area.address, area.bytes);
    if (!covering) return fail(request, "area " + std::to_string(area.id) + ": " + covering.error().message);
    pending.blocks.merge(*covering);
  }
  pending_.push_back(std::move(pending));
  const auto mine = std::prev(pending_.end());
  mine->help = loop_.after(kOnlineForIt, [this, mine] {
    (void)online_offline_blocks(*mine);
    settle(mine);
  });
  mine->limit = loop_.after(kLimit, [this, mine] { give_up(mine); });
  settle(mine);
}

void Engager::on_uevent(const Uevent& event) {
  if (event.subsystem != "memory") return;
  const auto block = block_number(event.name());
  if (!block) return;
  if (event.action == "offline" || event.action == "remove") went_offline(*block);
  const bool added = event.action == "add";
  if (!added && event.action != "online") return;
  if (!added && came_by_hot_plug(*block)) plugged_.insert(*block);
  for (auto at = pending_.begin(); at != pending_.end();) {
    const auto pending = at++;
    // A takeover waits for this, and each look at a block costs: one that was just added is only looked at
    // when it is ours to online, and what the kernel says is online is looked at once, with all others, in
    // the end.
    if (added && pending->kernel_onlines) continue;
    if (pending->waiting_for.erase(*block) == 0) continue;
    if (added) (void)blocks_.online(*block);
    if (pending->waiting_for.empty()) settle(pending);
  }
}

void Engager::look_again() {
  const auto online = blocks_.online_blocks();
  const auto before = plugged_;
  for (const auto block : before) {
    if (!online.contains(block)) went_offline(block);
  }
  for (const auto block : online) {
    if (came_by_hot_plug(block)) plugged_.insert(block);
  }
  for (auto at = pending_.begin(); at != pending_.end();) settle(at++);
}

// One that is new did, without a look at it: that costs, and a takeover waits. One that was there at the
// start did if an agent before this one had it online.
bool Engager::came_by_hot_plug(MemoryBlocks::Block block) const {
  return !online_at_start_.contains(block) || blocks_.is_movable(block);
}

void Engager::went_offline(MemoryBlocks::Block block) {
  plugged_.erase(block);
  engaged_.erase(block);
}

void Engager::renumber(const std::map<protocol::AppNumber, protocol::AppNumber>& now_by_before) {
  std::map<MemoryBlocks::Block, protocol::AppNumber> engaged;
  for (const auto& [block, app] : engaged_) {
    const auto found = now_by_before.find(app);
    if (found != now_by_before.end()) engaged.emplace(block, found->second);
  }
  engaged_ = std::move(engaged);
}

Bytes Engager::usable_of(std::size_t blocks) const {
  return usable_bytes(blocks * blocks_.block_bytes());
}

Bytes Engager::engaged_bytes(protocol::AppNumber app) const {
  return usable_of(static_cast<std::size_t>(std::count_if(
      engaged_.begin(), engaged_.end(), [&](const auto& entry) { return entry.second == app; })));
}

Bytes Engager::unengaged_bytes() const {
  return usable_of(plugged_.size() - engaged_.size());
}

std::string Engager::online_offline_blocks(const Pending& pending) {
  std::string first_error;
  for (const auto block : pending.blocks) {
    if (blocks_.state(block) != MemoryBlocks::State::offline) continue;
    const auto done = blocks_.online(block);
    if (!done && first_error.empty()) first_error = done.error().message;
  }
  return first_error;
}

Bytes Engager::least_total_bytes() const {
  Bytes grown = 0;
  for (const auto& [block, app] : engaged_) {
    if (!online_at_start_.contains(block)) grown += blocks_.block_bytes();
  }
  if (grown == 0) return 0;
  return total_at_start_bytes_ + usable_bytes(grown) - kTotalSlackBytes;
}

// Looks at every block of the request; answers if all are online.
void Engager::settle(std::list<Pending>::iterator pending) {
  if (!pending->kernel_onlines) (void)online_offline_blocks(*pending);
  pending->waiting_for = pending->blocks;
  std::erase_if(pending->waiting_for,
                [&](auto block) { return blocks_.state(block) == MemoryBlocks::State::online; });
  if (!pending->waiting_for.empty()) return;
  for (const auto block : pending->blocks) {
    plugged_.insert(block);
    engaged_.insert_or_assign(block, pending->request.app);
  }
  const auto request = std::move(pending->request);
  pending_.erase(pending);
  const MemInfo memory = read_memory_();
  const Bytes least = least_total_bytes();
  if (memory.total_bytes < least) {
    return fail(request, "the blocks are online, but MemTotal is " + format_size(memory.total_bytes) +
                             " and not the expected " + format_size(least) +
                             ": the kernel could not take the memory in; this guest needs a restart");
  }
  send_(protocol::from_agent::Engaged{request.app, request.epoch, ids_of(request.areas), memory.total_bytes,
                                      memory.available_bytes});
}

void Engager::give_up(std::list<Pending>::iterator pending) {
  const std::string error = online_offline_blocks(*pending);
  const std::size_t others = pending_.size() - 1;
  settle(pending);
  if (pending_.size() == others) return;  // answered
  const auto request = std::move(pending->request);
  const auto missing = std::move(pending->waiting_for);
  pending_.erase(pending);
  const MemInfo memory = read_memory_();
  std::string why = std::to_string(missing.size()) + " memory blocks, the first of them memory" +
                    std::to_string(*missing.begin()) + ", did not come online within " +
                    format_duration(kLimit);
  if (!error.empty()) why += " (" + error + ")";
  why += "; MemTotal " + format_size(memory.total_bytes) + ", available " +
         format_size(memory.available_bytes) +
         ": a guest this small may not be able to take that much memory in; give it more base memory";
  fail(request, why);
}

void Engager::fail(const protocol::to_agent::Engage& request, const std::string& why) {
  send_(protocol::from_agent::EngageFailed{request.app, request.epoch, why});
}

}  // namespace understudy::agent

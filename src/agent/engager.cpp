#include "agent/engager.hpp"

#include "agent/need.hpp"

namespace understudy::agent {

namespace {

constexpr std::size_t kMaxPending = 64;

std::vector<protocol::AreaNumber> ids_of(const std::vector<protocol::Area>& areas) {
  std::vector<protocol::AreaNumber> ids;
  for (const auto& area : areas) ids.push_back(area.id);
  return ids;
}

}  // namespace

Engager::Engager(Loop& loop, const MemoryBlocks& blocks, ReadMemory read_memory, Send send)
    : loop_(loop),
      blocks_(blocks),
      read_memory_(std::move(read_memory)),
      send_(std::move(send)),
      total_at_start_bytes_(read_memory_().total_bytes),
      online_at_start_(blocks.count_online()) {}

void Engager::engage(const protocol::to_agent::Engage& request) {
  // A repetition replaces what it repeats.
  pending_.remove_if([&](const Pending& other) { return other.request == request; });
  if (pending_.size() >= kMaxPending) return fail(request, "too many requests to engage memory at once");
  Pending pending{request, {}, {}, {}};
  for (const auto& area : request.areas) {
    auto covering = blocks_.covering(area.address, area.bytes);
    if (!covering) return fail(request, "area " + std::to_string(area.id) + ": " + covering.error().message);
    for (const auto block : *covering) {
      if (blocks_.state(block) != MemoryBlocks::State::online) pending.waiting_for.insert(block);
    }
  }
  pending_.push_back(std::move(pending));
  const auto mine = std::prev(pending_.end());
  if (!blocks_.onlines_by_itself()) (void)online_offline_blocks(*mine);
  if (mine->waiting_for.empty()) return settle(mine);
  mine->help = loop_.after(kOnlineForIt, [this, mine] {
    (void)online_offline_blocks(*mine);
    if (mine->waiting_for.empty()) settle(mine);
  });
  mine->limit = loop_.after(kLimit, [this, mine] { give_up(mine); });
}

void Engager::on_uevent(const Uevent& event) {
  if (event.subsystem != "memory") return;
  const auto block = block_number(event.name());
  if (!block) return;
  const bool online_it = event.action == "add" && !blocks_.onlines_by_itself();
  for (auto at = pending_.begin(); at != pending_.end();) {
    const auto pending = at++;
    if (!pending->waiting_for.contains(*block)) continue;
    if (online_it) (void)blocks_.online(*block);
    if (blocks_.state(*block) == MemoryBlocks::State::online) pending->waiting_for.erase(*block);
    if (pending->waiting_for.empty()) settle(pending);
  }
}

void Engager::look_again() {
  for (auto at = pending_.begin(); at != pending_.end();) {
    const auto pending = at++;
    std::erase_if(pending->waiting_for,
                  [&](auto block) { return blocks_.state(block) == MemoryBlocks::State::online; });
    if (!blocks_.onlines_by_itself()) (void)online_offline_blocks(*pending);
    if (pending->waiting_for.empty()) settle(pending);
  }
}

std::string Engager::online_offline_blocks(Pending& pending) {
  std::string first_error;
  for (auto at = pending.waiting_for.begin(); at != pending.waiting_for.end();) {
    const auto block = *at++;
    if (blocks_.state(block) == MemoryBlocks::State::offline) {
      const auto done = blocks_.online(block);
      if (!done && first_error.empty()) first_error = done.error().message;
    }
    if (blocks_.state(block) == MemoryBlocks::State::online) pending.waiting_for.erase(block);
  }
  return first_error;
}

Bytes Engager::least_total_bytes() const {
  const std::uint64_t online = blocks_.count_online();
  if (online <= online_at_start_) return 0;
  const Bytes grown = (online - online_at_start_) * blocks_.block_bytes();
  return total_at_start_bytes_ + grown - grown / kMemmapDivisor - kTotalSlackBytes;
}

void Engager::settle(std::list<Pending>::iterator pending) {
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
  if (pending->waiting_for.empty()) return settle(pending);
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

#pragma once

#include "gateway/limits.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace understudy::gateway {

// How many connections the process can hold beside what it needs to stay controllable: without it, clients
// could use up the last descriptor and no new daemon could reach its gateway. And how many of them one
// application can: however many clients it has, half of all is shared out equally and kept free for each of
// the others, and a guest's QEMU, which needs a descriptor for each of them, is never used up.
class ConnectionBudget {
 public:
  // What an application has of it, as long as it has an address.
  struct Party {
    std::size_t used = 0;
  };

  explicit ConnectionBudget(std::size_t most) : most_(most) {}

  [[nodiscard]] std::shared_ptr<Party> join() {
    auto party = std::make_shared<Party>();
    parties_.push_back(party);
    return party;
  }

  [[nodiscard]] std::size_t most() const { return most_; }
  [[nodiscard]] bool take(Party& party) {
    if (party.used >= kMostConnected || used_ + kept_from(party) >= most_) return false;
    ++used_;
    ++party.used;
    return true;
  }
  void give(Party& party) {
    --used_;
    --party.used;
    for (auto& resume : std::exchange(waiting_, {})) resume();
  }
  // Calls `resume` once, after the next connection ended. It only posts; what it does may take again.
  void when_there_is_room(std::function<void()> resume) { waiting_.push_back(std::move(resume)); }

 private:
  // Of what is kept free for the others, as much as they have not taken.
  [[nodiscard]] std::size_t kept_from(const Party& party) {
    std::erase_if(parties_, [](const auto& one) { return one.expired(); });
    const std::size_t each = most_ / 2 / std::max<std::size_t>(1, parties_.size());
    std::size_t kept = 0;
    for (const auto& weak : parties_) {
      const auto other = weak.lock();
      if (other && other.get() != &party) kept += each - std::min(each, other->used);
    }
    return kept;
  }

  std::size_t most_;
  std::size_t used_ = 0;
  std::vector<std::weak_ptr<Party>> parties_;
  std::vector<std::function<void()>> waiting_;
};

// One connection's share, given back at its end.
class ConnectionShare {
 public:
  ConnectionShare() = default;
  ConnectionShare(ConnectionBudget& taken_of, std::shared_ptr<ConnectionBudget::Party> by)
      : budget_(&taken_of), party_(std::move(by)) {}
  ConnectionShare(ConnectionShare&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), party_(std::move(other.party_)) {}
  ConnectionShare& operator=(ConnectionShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(party_, other.party_);
    return *this;
  }
  ConnectionShare(const ConnectionShare&) = delete;
  ConnectionShare& operator=(const ConnectionShare&) = delete;
  ~ConnectionShare() {
    if (budget_ != nullptr) budget_->give(*party_);
  }

 private:
  ConnectionBudget* budget_ = nullptr;
  std::shared_ptr<ConnectionBudget::Party> party_;
};

}  // namespace understudy::gateway

#pragma once

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace understudy::gateway {

// How many connections the process can hold beside what it needs to stay controllable: without it, clients
// could use up the last descriptor and no new daemon could reach its gateway.
class ConnectionBudget {
 public:
  explicit ConnectionBudget(std::size_t most) : most_(most) {}

  [[nodiscard]] std::size_t most() const { return most_; }
  [[nodiscard]] bool take() {
    if (used_ >= most_) return false;
    ++used_;
    return true;
  }
  void give() {
    --used_;
    for (auto& resume : std::exchange(waiting_, {})) resume();
  }
  // Calls `resume` once, after the next connection ended. It only posts; what it does may take again.
  void when_there_is_room(std::function<void()> resume) { waiting_.push_back(std::move(resume)); }

 private:
  std::size_t most_;
  std::size_t used_ = 0;
  std::vector<std::function<void()>> waiting_;
};

// One connection's share, given back at its end.
class ConnectionShare {
 public:
  ConnectionShare() = default;
  explicit ConnectionShare(ConnectionBudget& taken_of) : budget_(&taken_of) {}
  ConnectionShare(ConnectionShare&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)) {}
  ConnectionShare& operator=(ConnectionShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    return *this;
  }
  ConnectionShare(const ConnectionShare&) = delete;
  ConnectionShare& operator=(const ConnectionShare&) = delete;
  ~ConnectionShare() {
    if (budget_ != nullptr) budget_->give();
  }

 private:
  ConnectionBudget* budget_ = nullptr;
};

}  // namespace understudy::gateway

#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace understudy::sim {

// Virtual time: what is to happen, ordered by (time, the order in which it was scheduled).
class Timeline {
 public:
  [[nodiscard]] Time now() const { return now_; }
  [[nodiscard]] std::uint64_t happened() const { return happened_; }

  void at(Time when, std::function<void()> what) {
    heap_.push_back({std::max(when, now_), sequence_++, std::move(what)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  void after(Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }

  [[nodiscard]] std::optional<Time> next() const {
    return heap_.empty() ? std::nullopt : std::optional<Time>(heap_.front().when);
  }
  // Lets the earliest thing happen; false when nothing is left.
  bool step() {
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), later);
    Entry entry = std::move(heap_.back());
    heap_.pop_back();
    now_ = entry.when;
    ++happened_;
    entry.what();
    return true;
  }

 private:
  struct Entry {
    Time when;
    std::uint64_t sequence;
    std::function<void()> what;
  };
  static bool later(const Entry& a, const Entry& b) {
    return a.when != b.when ? a.when > b.when : a.sequence > b.sequence;
  }

  Time now_{};
  std::uint64_t sequence_ = 0;
  std::uint64_t happened_ = 0;
  std::vector<Entry> heap_;
};

// A channel that keeps its order: what is sent later arrives later. Independent channels reorder freely.
class Channel {
 public:
  [[nodiscard]] Time arrival(Time earliest) { return last_ = std::max(last_, earliest); }

 private:
  Time last_{};
};

}  // namespace understudy::sim

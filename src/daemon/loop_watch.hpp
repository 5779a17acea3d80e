#pragma once

#include "base/time.hpp"
#include "base/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace understudy::daemon {

// Measures every turn of this thread's event loop: from when the kernel has told what is ready until the next
// look at it. In between the loop sees no panic, no silence and no end of a process, so nothing it does may
// wait. What is measured is what the loop did itself, waiting included; what it was not let run by the host
// is no turn of its own (that is `daemon-late`). The journal is let wait longer: durable comes before acting.
//
// The looks are known because epoll_wait is defined here, in front of the C library's: Asio, which is
// compiled into this program, calls ours. A timer or a handler that runs now and then could not tell a turn
// that waits from a loop that has nothing to do.
class LoopWatch final {
 public:
  static constexpr Duration kMostTurn = std::chrono::milliseconds(10);
  static constexpr Duration kMostJournal = std::chrono::milliseconds(100);

  struct Blocked {
    Duration lasted{};
    std::string what;  // a sentence's part: "command status: reading the gateway's memory"
  };
  // Called between two turns, never within a handler: it may post, and no more.
  using Tell = std::function<void(Blocked)>;

  // Of this thread, until it is destroyed.
  explicit LoopWatch(Tell tell);
  ~LoopWatch();
  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

  // By epoll_wait alone.
  void turn_ends();
  void turn_begins();

 private:
  struct Reading {
    Time at{};
    Duration ran{};       // processor time of the thread
    Duration kept_off{};  // it could have run, and was not let
    std::int64_t waits = 0;
  };
  [[nodiscard]] Reading read() const;

  Tell tell_;
  UniqueFd schedstat_;
  Reading began_;
  bool in_turn_ = false;
};

}  // namespace understudy::daemon

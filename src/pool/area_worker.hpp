#pragma once

#include "base/error.hpp"
#include "core/ids.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace understudy::pool {

// Does something to areas, one after the other, in a thread of its own: zeroing or allocating a large one
// takes tenths of a second, and the daemon's loop must not wait for it.
class AreaWorker final {
 public:
  using Work = std::function<Result<void>(core::AreaId)>;
  using Done = std::function<void(core::AreaId, Result<void>)>;

  // Both are called in that thread.
  AreaWorker(Work work, Done done);
  // Finishes the area it is at; what still waits is dropped without an answer.
  ~AreaWorker() = default;
  AreaWorker(const AreaWorker&) = delete;
  AreaWorker& operator=(const AreaWorker&) = delete;

  void add(core::AreaId area);

 private:
  void run(const std::stop_token& stop);

  Work work_;
  Done done_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<core::AreaId> waiting_;
  std::jthread thread_;  // last: ends before what it uses
};

}  // namespace understudy::pool

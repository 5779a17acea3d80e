#include "pool/area_worker.hpp"

#include "base/signals_blocked.hpp"

#include <utility>

namespace understudy::pool {

AreaWorker::AreaWorker(Work work, Done done) : work_(std::move(work)), done_(std::move(done)) {
  const SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void AreaWorker::add(core::AreaId area) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(area);
  }
  changed_.notify_one();
}

void AreaWorker::run(const std::stop_token& stop) {
  while (true) {
    core::AreaId area;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return !waiting_.empty(); })) return;
      if (stop.stop_requested()) return;
      area = waiting_.front();
      waiting_.pop_front();
    }
    done_(area, work_(area));
  }
}

}  // namespace understudy::pool

#include "base/background.hpp"

#include "base/signals_blocked.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace understudy {

namespace {

constexpr Duration kEndLimit = std::chrono::seconds(2);

}  // namespace

struct Background::Shared {
  void work();

  std::mutex mutex;
  std::condition_variable changed;
  std::condition_variable idle;
  std::deque<std::function<void()>> waiting;
  bool busy = false;
  bool ends = false;
};

void Background::Shared::work() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [this] { return !waiting.empty() || ends; });
    if (waiting.empty()) return;
    auto next = std::move(waiting.front());
    waiting.pop_front();
    busy = true;
    lock.unlock();
    next();
    next = nullptr;  // what it holds goes in this thread, too
    lock.lock();
    busy = false;
    if (waiting.empty()) idle.notify_all();
  }
}

Background::Background() : shared_(std::make_shared<Shared>()) {
  const SignalsBlocked blocked;
  std::thread([shared = shared_] { shared->work(); }).detach();
}

Background::~Background() {
  flush(kEndLimit);
  const std::lock_guard lock(shared_->mutex);
  shared_->ends = true;
  shared_->changed.notify_one();
}

void Background::run(std::function<void()> work) {
  const std::lock_guard lock(shared_->mutex);
  shared_->waiting.push_back(std::move(work));
  shared_->changed.notify_one();
}

void Background::flush(Duration limit) const {
  std::unique_lock lock(shared_->mutex);
  shared_->idle.wait_for(lock, limit, [this] { return shared_->waiting.empty() && !shared_->busy; });
}

}  // namespace understudy

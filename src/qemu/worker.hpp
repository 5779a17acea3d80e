#pragma once

#include "base/background.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace understudy::qemu {

// What may wait for a disk or for the kernel, done in a thread of its own, one after the other, in the order
// asked; its result comes back to the loop. Nothing comes back to a loop that is gone, or after this object.
class Worker final {
 public:
  explicit Worker(boost::asio::io_context& loop) : loop_(std::make_shared<Loop>()) { loop_->loop = &loop; }
  // Waits a while for what is not done yet.
  ~Worker() {
    const std::lock_guard lock(loop_->mutex);
    loop_->loop = nullptr;
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // `work` has copies of whatever it needs: it may hang, and outlive everybody.
  template <class Work, class Done>
  void run(Work work, Done done) {
    // A shared function need not be copied, and so what it holds need not be, either.
    const auto shared = std::make_shared<std::pair<Work, Done>>(std::move(work), std::move(done));
    thread_.run([shared, loop = loop_] {
      using Answer = decltype(shared->first());
      const auto answer = std::make_shared<Answer>(shared->first());
      const std::lock_guard lock(loop->mutex);
      if (loop->loop == nullptr) return;
      boost::asio::post(*loop->loop, [shared, answer, weak = std::weak_ptr(loop)] {
        const auto alive = weak.lock();
        if (alive && alive->loop != nullptr) shared->second(std::move(*answer));
      });
    });
  }

 private:
  struct Loop {
    std::mutex mutex;
    boost::asio::io_context* loop = nullptr;  // none: gone; changed by the loop's own thread
  };

  std::shared_ptr<Loop> loop_;
  Background thread_;
};

}  // namespace understudy::qemu

#include "qemu/process_scan.hpp"

#include "base/signals_blocked.hpp"
#include "base/units.hpp"

#include <mutex>
#include <thread>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

namespace asio = boost::asio;

// Outlives the scan while a thread is at it. The loop is posted to only while the scan lives.
struct ProcessScan::Shared {
  std::mutex mutex;
  asio::io_context* loop = nullptr;  // none: the scan is gone
};

// Whichever comes first of a look's answer and the limit is the answer. The loop alone has it (by the timer's
// handler): a thread that hangs may outlive the loop.
struct ProcessScan::Asked {
  Asked(asio::io_context& loop, Found found) : timer(loop), answer(std::move(found)) {}
  void give(const Result<std::vector<FoundProcess>>& found) {
    const auto told = std::exchange(answer, {});
    timer.cancel();
    if (told) told(found);
  }
  asio::steady_timer timer;
  Found answer;
};

namespace {

void start_thread(std::function<void()> work) {
  const SignalsBlocked blocked;
  std::thread(std::move(work)).detach();
}

}  // namespace

ProcessScan::ProcessScan(asio::io_context& loop, std::filesystem::path run_dir, Duration limit, Look look)
    : loop_(loop),
      run_dir_(std::move(run_dir)),
      limit_(limit),
      look_(std::move(look)),
      shared_(std::make_shared<Shared>()) {
  shared_->loop = &loop;
}

ProcessScan::~ProcessScan() {
  const std::lock_guard lock(shared_->mutex);
  shared_->loop = nullptr;
}

void ProcessScan::look(Found found) {
  const auto asked = std::make_shared<Asked>(loop_, std::move(found));
  waiting_.push_back(asked);
  asked->timer.expires_after(limit_);
  asked->timer.async_wait([asked, limit = limit_](auto error) {
    if (error) return;
    asked->give(failure("the host's processes could not be looked at within " + format_duration(limit) +
                        ", so a former QEMU of the guest might still run; one of them seems to hang in the "
                        "kernel (`ps -eo pid,state,args` shows it in state D, or hangs, too)"));
  });
  if (!busy_) begin();
}

void ProcessScan::begin() {
  busy_ = true;
  start_thread([this, shared = shared_, asked = std::exchange(waiting_, {}), look = look_,
                run_dir = run_dir_] {
    auto processes = look(run_dir);
    const std::lock_guard lock(shared->mutex);
    if (shared->loop == nullptr) return;
    asio::post(*shared->loop, [this, weak = std::weak_ptr(shared), asked, processes = std::move(processes)] {
      const auto scan = weak.lock();
      if (!scan || scan->loop == nullptr) return;  // the scan is gone, and so is this
      busy_ = false;
      if (!waiting_.empty()) begin();
      for (const auto& each : asked) {
        if (const auto here = each.lock()) here->give(processes);
      }
    });
  });
}

}  // namespace understudy::qemu

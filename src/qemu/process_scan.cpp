#include "qemu/process_scan.hpp"

#include "base/units.hpp"

#include <csignal>
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
  bool busy = false;
};

namespace {

// One look: whichever comes first of the thread's answer and the limit is the answer. The loop has it alone
// (by the timer's handler): a thread that hangs may outlive the loop.
struct Asked {
  Asked(asio::io_context& loop, ProcessScan::Found found) : timer(loop), answer(std::move(found)) {}
  asio::steady_timer timer;
  ProcessScan::Found answer;
};

void give(Asked& asked, Result<std::vector<FoundProcess>> found) {
  const auto answer = std::exchange(asked.answer, {});
  asked.timer.cancel();
  if (answer) answer(std::move(found));
}

void start_thread(std::function<void()> work) {
  // Signals belong to the daemon's loop: a thread inherits the mask, so it is set around the start.
  sigset_t all{};
  sigset_t before{};
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread(std::move(work)).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
  const std::string why = "the host's processes could not be looked at within " + format_duration(limit_) +
                          ", so a former QEMU of the guest might still run; one of them seems to hang in the "
                          "kernel (`ps -eo pid,state,args` shows it in state D, or hangs, too)";
  {
    const std::lock_guard lock(shared_->mutex);
    if (std::exchange(shared_->busy, true)) {
      asio::post(loop_, [asked, why] { give(*asked, failure(why)); });
      return;
    }
  }
  asked->timer.expires_after(limit_);
  asked->timer.async_wait([asked, why](auto error) {
    if (!error) give(*asked, failure(why));
  });
  start_thread([shared = shared_, weak = std::weak_ptr(asked), look = look_, run_dir = run_dir_] {
    auto processes = look(run_dir);
    const std::lock_guard lock(shared->mutex);
    shared->busy = false;
    if (shared->loop == nullptr) return;
    asio::post(*shared->loop, [weak, processes = std::move(processes)]() mutable {
      if (const auto here = weak.lock()) give(*here, std::move(processes));
    });
  });
}

}  // namespace understudy::qemu

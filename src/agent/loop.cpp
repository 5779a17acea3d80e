#include "agent/loop.hpp"

#include "base/check.hpp"
#include "base/kernel_files.hpp"

#include <array>
#include <cerrno>
#include <ctime>

namespace understudy::agent {

namespace {

std::uint64_t key(std::uint32_t generation, int fd) {
  return (static_cast<std::uint64_t>(generation) << 32) | static_cast<std::uint32_t>(fd);
}

}  // namespace

Result<std::unique_ptr<Loop>> Loop::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return failure(errno_text("epoll_create1"));
  return std::unique_ptr<Loop>(new Loop(std::move(epoll)));
}

Loop::Watch& Loop::Watch::operator=(Watch&& other) noexcept {
  if (this != &other) {
    reset();
    loop_ = std::exchange(other.loop_, nullptr);
    fd_ = other.fd_;
  }
  return *this;
}

void Loop::Watch::reset() {
  if (loop_ == nullptr) return;
  ::epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
  loop_->watched_.erase(fd_);
  loop_ = nullptr;
}

void Loop::Watch::change(std::uint32_t epoll_events) {
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = key(loop_->watched_.at(fd_).generation, fd_);
  US_CHECK(::epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_MOD, fd_, &event) == 0);
}

Loop::Timer& Loop::Timer::operator=(Timer&& other) noexcept {
  if (this != &other) {
    reset();
    loop_ = std::exchange(other.loop_, nullptr);
    key_ = other.key_;
  }
  return *this;
}

void Loop::Timer::reset() {
  if (loop_ != nullptr) std::exchange(loop_, nullptr)->timers_.erase(key_);
}

Loop::Watch Loop::watch(int fd, std::uint32_t epoll_events, FdHandler handler) {
  const std::uint32_t generation = ++next_generation_;
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = key(generation, fd);
  // Fails only for a descriptor that cannot be watched or is watched already: a mistake of ours.
  US_CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
  watched_[fd] = {generation, std::make_shared<FdHandler>(std::move(handler))};
  return {this, fd};
}

Loop::Timer Loop::at(Time when, Handler handler) {
  const std::pair<Time, std::uint64_t> key(when, next_timer_++);
  timers_.emplace(key, std::move(handler));
  return {this, key};
}

Loop::Timer Loop::after(Duration delay, Handler handler) {
  return at(now() + delay, std::move(handler));
}

Time Loop::now() {
  timespec at{};
  ::clock_gettime(CLOCK_MONOTONIC, &at);
  return Time(std::chrono::duration_cast<Duration>(std::chrono::seconds(at.tv_sec) +
                                                   std::chrono::nanoseconds(at.tv_nsec)));
}

Duration Loop::until_next_timer(Duration most) const {
  if (timers_.empty()) return most;
  const Duration left = timers_.begin()->first.first - now();
  return std::max(Duration::zero(), std::min(most, left));
}

void Loop::run_timers() {
  // Those that are due now; one that a handler adds for now waits for the next round.
  const Time due = now();
  while (!timers_.empty() && timers_.begin()->first.first <= due) {
    const auto node = timers_.extract(timers_.begin());
    node.mapped()();
  }
}

void Loop::run_once(Duration most) {
  std::array<epoll_event, 32> events{};
  const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(until_next_timer(most)).count();
  const timespec timeout{static_cast<time_t>(nanos / 1'000'000'000),
                         static_cast<long>(nanos % 1'000'000'000)};
  int count = ::epoll_pwait2(epoll_.get(), events.data(), events.size(), &timeout, nullptr);
  if (count < 0 && errno == ENOSYS) {  // before Linux 5.11: milliseconds
    count = ::epoll_wait(epoll_.get(), events.data(), events.size(),
                         static_cast<int>((nanos + 999'999) / 1'000'000));
  }
  for (int i = 0; i < count; ++i) {
    const auto& event = events.at(static_cast<std::size_t>(i));
    const auto found = watched_.find(static_cast<int>(event.data.u64 & 0xffffffff));
    if (found == watched_.end() || found->second.generation != event.data.u64 >> 32) continue;
    const auto handler = found->second.handler;  // kept alive while it runs, even if it ends its own watch
    (*handler)(event.events);
  }
  run_timers();
}

void Loop::run() {
  stopped_ = false;
  while (!stopped_) run_once(std::chrono::hours(1));
}

}  // namespace understudy::agent

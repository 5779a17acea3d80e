#pragma once

#include "base/error.hpp"
#include "base/time.hpp"
#include "base/unique_fd.hpp"

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

namespace understudy::agent {

// One thread's event loop: file descriptors by epoll, timers in a map. Handlers may add and remove watches
// and timers freely, their own too.
class Loop {
 public:
  using FdHandler = std::function<void(std::uint32_t epoll_events)>;
  using Handler = std::function<void()>;

  // Ends the watch when it goes out of scope. It must not outlive the loop, nor the descriptor it.
  class Watch {
   public:
    Watch() = default;
    Watch(Loop* loop, int fd) : loop_(loop), fd_(fd) {}
    Watch(Watch&& other) noexcept : loop_(std::exchange(other.loop_, nullptr)), fd_(other.fd_) {}
    Watch& operator=(Watch&& other) noexcept;
    ~Watch() { reset(); }
    void reset();
    // Other events from now on; with EPOLLET the present state is told anew.
    void change(std::uint32_t epoll_events);
    explicit operator bool() const { return loop_ != nullptr; }

   private:
    Loop* loop_ = nullptr;
    int fd_ = -1;
  };

  // Cancels the timer when it goes out of scope.
  class Timer {
   public:
    Timer() = default;
    Timer(Loop* loop, std::pair<Time, std::uint64_t> key) : loop_(loop), key_(key) {}
    Timer(Timer&& other) noexcept : loop_(std::exchange(other.loop_, nullptr)), key_(other.key_) {}
    Timer& operator=(Timer&& other) noexcept;
    ~Timer() { reset(); }
    void reset();

   private:
    Loop* loop_ = nullptr;
    std::pair<Time, std::uint64_t> key_;
  };

  [[nodiscard]] static Result<std::unique_ptr<Loop>> create();

  // epoll_events as for epoll_ctl (EPOLLIN, EPOLLET, ...).
  [[nodiscard]] Watch watch(int fd, std::uint32_t epoll_events, FdHandler handler);
  [[nodiscard]] Timer after(Duration delay, Handler handler);
  [[nodiscard]] Timer at(Time when, Handler handler);

  [[nodiscard]] static Time now();

  void run();
  void stop() { stopped_ = true; }
  // Waits at most this long for something to happen, and handles it.
  void run_once(Duration most);

 private:
  struct Watched {
    std::uint32_t generation = 0;  // an event for a former user of the same descriptor is dropped
    std::shared_ptr<FdHandler> handler;
  };

  explicit Loop(UniqueFd epoll) : epoll_(std::move(epoll)) {}
  void run_timers();
  [[nodiscard]] Duration until_next_timer(Duration most) const;

  UniqueFd epoll_;
  std::map<int, Watched> watched_;
  std::map<std::pair<Time, std::uint64_t>, Handler> timers_;  // the number keeps equal times in order
  std::uint64_t next_timer_ = 0;
  std::uint32_t next_generation_ = 0;
  bool stopped_ = false;
};

}  // namespace understudy::agent

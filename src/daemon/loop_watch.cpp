#include "daemon/loop_watch.hpp"

#include "base/doing.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

namespace understudy::daemon {

namespace {

thread_local LoopWatch* watch = nullptr;

}  // namespace

LoopWatch::LoopWatch(Tell tell)
    : tell_(std::move(tell)), schedstat_(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)) {
  watch = this;
}

LoopWatch::~LoopWatch() {
  watch = nullptr;
}

// "RAN_NS KEPT_OFF_NS SLICES"; without it (a kernel that does not count) the host's fault counts as ours.
LoopWatch::Reading LoopWatch::read() const {
  Reading reading;
  char text[96] = {};
  unsigned long long ran_ns = 0;
  unsigned long long kept_off_ns = 0;
  if (schedstat_ && ::pread(schedstat_.get(), text, sizeof text - 1, 0) > 0)
    (void)std::sscanf(text, "%llu %llu", &ran_ns, &kept_off_ns);
  reading.ran = Duration(ran_ns / 1000);
  reading.kept_off = Duration(kept_off_ns / 1000);
  rusage use{};
  ::getrusage(RUSAGE_THREAD, &use);
  reading.waits = use.ru_nvcsw;
  reading.at =
      Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  return reading;
}

void LoopWatch::turn_begins() {
  Doing::forget();
  began_ = read();
  in_turn_ = true;
}

void LoopWatch::turn_ends() {
  if (!std::exchange(in_turn_, false)) return;
  const auto now =
      Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  if (now - began_.at <= kMostTurn) return;
  const Reading ended = read();
  const Duration lasted = ended.at - began_.at - (ended.kept_off - began_.kept_off);
  if (lasted <= kMostTurn) return;
  // It neither waited nor worked for long: a machine below this one kept it off, which no counter here tells.
  if (ended.waits == began_.waits && ended.ran - began_.ran <= kMostTurn) return;
  const Doing::Longest longest = Doing::longest();
  const Duration besides = lasted - longest.journal;
  if (besides <= kMostTurn && longest.journal <= kMostJournal) return;
  tell_({lasted, longest.what.empty() ? "something without a name" : longest.what});
}

}  // namespace understudy::daemon

// In front of the C library's; see LoopWatch.
extern "C" int epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms) {
  if (understudy::daemon::watch != nullptr) understudy::daemon::watch->turn_ends();
  const int count =
      static_cast<int>(::syscall(SYS_epoll_pwait, epoll, events, most, timeout_ms, nullptr, sizeof(long)));
  if (understudy::daemon::watch != nullptr) understudy::daemon::watch->turn_begins();
  return count;
}

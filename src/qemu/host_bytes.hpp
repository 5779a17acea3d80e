#pragma once

#include "qemu/proc.hpp"

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>

namespace understudy::qemu {

// Host memory of QEMU processes. The exact number takes the kernel a walk through every page of the process,
// during which that process can map and unmap nothing: it is read in a thread of its own, at most once per
// interval and only when somebody asks.
class HostBytes final {
 public:
  static constexpr auto kInterval = std::chrono::seconds(2);

  HostBytes();
  ~HostBytes() = default;
  HostBytes(const HostBytes&) = delete;
  HostBytes& operator=(const HostBytes&) = delete;

  // The last exact number; before the first one the kernel's counter, which includes in full what is shared
  // with other processes. `may_measure`: false while a takeover must not be disturbed.
  [[nodiscard]] std::optional<HostMemory> of(pid_t pid, bool may_measure);
  void forget(pid_t pid);

 private:
  struct Known {
    std::optional<HostMemory> memory;
    std::chrono::steady_clock::time_point at{};
  };
  void run(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<pid_t, Known> known_;
  std::set<pid_t> wanted_;
  std::jthread thread_;  // last: ends before what it uses
};

}  // namespace understudy::qemu

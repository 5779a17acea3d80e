#pragma once

#include "base/units.hpp"
#include "protocol/messages.hpp"

#include <deque>
#include <string>
#include <variant>

namespace understudy::agent {

enum class FaultKind {
  ended,                // its main process is gone
  unhealthy,            // its health check failed too often in a row
  not_ready,            // started, and was not ready within its limit
  out_of_memory,        // the kernel killed in its cgroup, or it crawls at its limit
  guest_out_of_memory,  // the guest's kernel killed it for want of memory of its own: areas do not help
  in_background,        // its main process left others behind on purpose: nobody can watch those
  not_executable,       // it could not even be started
};

struct Fault {
  FaultKind kind = FaultKind::ended;
  std::string text;        // "killed by signal 11 (SIGSEGV)"
  bool blameless = false;  // it fell victim to somebody else's use of the guest
};

// What becomes of an application that has failed: the fault levels. Pure: faults and the time in, a decision
// out. One object per epoch.
class FaultPolicy {
 public:
  struct RestartInPlace {
    std::uint32_t attempt = 0;  // 1 is the first in the window; 0: it does not count
    Duration delay{};
  };
  struct AskMemory {  // and restart when the answer is there
    Bytes more_bytes = 0;
  };
  struct GiveUp {
    std::string cause;
    protocol::FaultLevel level = protocol::FaultLevel::unrecoverable;
    bool configuration = false;  // nothing but another configuration helps
  };
  using Decision = std::variant<RestartInPlace, AskMemory, GiveUp>;

  static constexpr Bytes kLeastMoreBytes = 64_MiB;
  static constexpr Bytes kMoreDivisor = 4;  // a quarter of what it has

  FaultPolicy(const protocol::Restart& restart, bool hot_standby)
      : restart_(restart), hot_standby_(hot_standby) {}

  [[nodiscard]] Decision decide(const Fault& fault, Bytes memory_limit_bytes, Time now);
  // The daemon has no more memory to give: it is a fault like another then.
  [[nodiscard]] Decision memory_refused(const std::string& why, Time now);

 private:
  [[nodiscard]] Decision restart_or_give_up(const std::string& text, Time now);
  [[nodiscard]] RestartInPlace restart_uncounted(Time now);
  // Doubled with each of so many before it.
  [[nodiscard]] Duration delay_after(std::size_t before) const;

  protocol::Restart restart_;
  bool hot_standby_;
  std::deque<Time> attempts_;   // within the window
  std::deque<Time> uncounted_;  // the same, of restarts that were not its own fault
};

}  // namespace understudy::agent

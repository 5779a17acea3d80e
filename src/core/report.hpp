#pragma once

#include "core/events.hpp"

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace understudy::core {

// The phases of every takeover, in order. One that a kind of fault does not have lasted 0 ms.
enum class Phase { detect, fence, detach, attach, online, start, serving };
inline constexpr std::size_t kPhaseCount = 7;
[[nodiscard]] const char* phase_name(Phase phase);

// A guest where it was to be started on the way, in vain.
struct Attempt {
  GuestId on;
  Duration took{};  // from the choice of this guest until everything had left it again
  std::string why;  // why it was in vain
};

// How one application came to where it runs now.
struct TakeoverReport {
  static constexpr std::size_t kMostAttempts = 8;  // that are kept one by one, the newest

  AppId app;
  std::string cause;            // "kernel panic of alpha", "planned switchover", "first start"
  std::optional<GuestId> from;  // none: first start
  std::optional<GuestId> to;    // none: nobody could take it
  Epoch epoch = 0;
  std::string result;                          // "serving" or why not
  std::array<Duration, kPhaseCount> phases{};  // of the way that led there, without attempts in vain
  Duration waited{};                           // until a guest could take it
  std::vector<Attempt> attempts;
  std::uint32_t attempts_in_vain = 0;  // all of them
  Duration in_vain{};
  Bytes bytes_moved = 0;   // areas of the failed party that were attached to the new one
  Bytes bytes_zeroed = 0;  // scrubbed, between trust domains only
  Bytes bytes_copied = 0;  // 0 by construction; areas are re-plugged, never copied

  [[nodiscard]] Duration total() const;
};

}  // namespace understudy::core

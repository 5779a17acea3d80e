#pragma once

#include "core/events.hpp"

#include <array>
#include <optional>
#include <string>

namespace understudy::core {

// The phases of every takeover, in order. One that a kind of fault does not have lasted 0 ms.
enum class Phase { detect, fence, detach, attach, online, start, serving };
inline constexpr std::size_t kPhaseCount = 7;
[[nodiscard]] const char* phase_name(Phase phase);

// How one application came to where it runs now.
struct TakeoverReport {
  AppId app;
  std::string cause;            // "kernel panic of alpha", "planned switchover", "first start"
  std::optional<GuestId> from;  // none: first start
  std::optional<GuestId> to;    // none: nobody could take it
  Epoch epoch = 0;
  std::string result;  // "serving" or why not
  std::array<Duration, kPhaseCount> phases{};
  Bytes bytes_moved = 0;   // areas of the failed party that were attached to the new one
  Bytes bytes_zeroed = 0;  // scrubbed, between trust domains only
  Bytes bytes_copied = 0;  // 0 by construction; areas are re-plugged, never copied

  [[nodiscard]] Duration total() const;
};

}  // namespace understudy::core

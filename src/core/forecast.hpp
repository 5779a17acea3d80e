#pragma once

#include "core/ids.hpp"

#include <optional>
#include <string>
#include <vector>

namespace understudy::core {

struct State;

// What the next failure of a guest would lead to, for every application that serves on it.
struct Forecast {
  struct Fate {
    AppId app;
    std::optional<GuestId> on;  // where it would serve in the end; none: nowhere
    std::string why_not;        // why nowhere
    bool given_up = false;      // it would not wait for a guest either
  };
  std::vector<Fate> fates;

  [[nodiscard]] const Fate* of(AppId app) const;
};

// Lets the guest fail in a copy of the state, by the functions that would decide about the real failure, with
// every guest and port that is well now answering at once. Time stands still: what could only happen later (a
// guest that boots, a limit that passes) does not happen. Kept until the next step that changes anything.
[[nodiscard]] const Forecast& forecast(const State&, GuestId failing);

}  // namespace understudy::core

#pragma once

#include "core/outputs.hpp"
#include "core/setup.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace understudy::control {

// How many events of each kind a guest can cause by talking alone. An event is a line in files, in memory, to
// whoever follows, and a process where a hook is on it; a guest can talk a thousand times a second. What
// Understudy does about a guest is always told: that has limits of its own.
class EventBudget final {
 public:
  static constexpr std::uint32_t kAtOnce = 30;
  static constexpr Duration kOneMoreEach = std::chrono::minutes(1);
  static constexpr Duration kTellEach = std::chrono::minutes(1);

  // Names in the sentences come from `setup`.
  explicit EventBudget(const core::Setup& setup) : setup_(setup) {}

  // Whether this becomes an event; else it is counted.
  [[nodiscard]] bool admits(Time at, const core::Notice& notice);
  // The sentences about what was held back that are due by now.
  [[nodiscard]] std::vector<core::Notice> held_back(Time at);

 private:
  struct Budget {
    std::uint32_t left = kAtOnce;
    Time counted{};  // until when `left` has been reckoned
  };
  struct Guest {
    std::map<std::string, Budget> kinds;
    std::map<std::string, std::uint64_t> held;
    bool told = false;
    Time told_at{};
  };
  const core::Setup& setup_;
  std::map<core::GuestId, Guest> guests_;
  bool some_held_ = false;
};

}  // namespace understudy::control

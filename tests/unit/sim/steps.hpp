#pragma once

#include "sim/simulation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>

// What the tests of faults in every step have in common.
namespace understudy::sim::test {

inline constexpr core::GuestId kAlpha{0};
inline constexpr core::GuestId kBeta{1};
inline constexpr core::AppId kDb{0};

// As googletest allows it in a test's name.
inline std::string as_test_name(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return text;
}

// Whole again: nothing broken, all applications serve, all guests are back; and everything can be ended.
inline void expect_recovery(Simulation& simulation) {
  simulation.nemesis.call_off();
  EXPECT_TRUE(simulation.run_until([&] { return simulation.daemon_up() && simulation.not_whole().empty(); },
                                   std::chrono::seconds(200)))
      << (simulation.violation() ? simulation.violation()->what : simulation.not_whole());
  simulation.command(core::event::BringDown{});
  EXPECT_TRUE(simulation.run_until([&] { return simulation.not_down().empty(); }, std::chrono::seconds(100)))
      << (simulation.violation() ? simulation.violation()->what : simulation.not_down());
}

}  // namespace understudy::sim::test

#pragma once

#include "base/time.hpp"

#include <cstddef>

// How much trouble a guest may make before something is done about it, and how often it is begun again.
namespace understudy::core {

// An agent that misbehaves as often as this within the window is compromised or broken: its guest is fenced.
// The link reports one kind of misdeed at most once a second.
inline constexpr std::size_t kMostMisdeeds = 20;
inline constexpr Duration kMisdeedWindow = std::chrono::seconds(60);

// A guest that keeps failing before it is ready is launched ever more rarely.
inline constexpr Duration kFirstBackoff = std::chrono::seconds(1);
inline constexpr Duration kLongestBackoff = std::chrono::seconds(60);

}  // namespace understudy::core

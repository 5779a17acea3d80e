#pragma once

#include "core/events.hpp"
#include "core/outputs.hpp"
#include "core/setup.hpp"

#include <string>
#include <vector>

// Events, records and outputs in plain English, for traces and for the golden decisions.
namespace understudy::sim {

// "alpha (run 2)".
[[nodiscard]] std::string name(const core::Setup& setup, core::GuestRun run);
// "areas 0-3 and 7"; "area 5"; "no area".
[[nodiscard]] std::string name(const std::vector<core::AreaId>& areas);

[[nodiscard]] std::string describe(const core::Setup& setup, const core::Event& event);
[[nodiscard]] std::string describe(const core::Setup& setup, const core::Record& record);
// What is done, in the order in which the engine does it; areas of one request kind are put together.
[[nodiscard]] std::vector<std::string> describe(const core::Setup& setup, const core::Outputs& outputs);

}  // namespace understudy::sim

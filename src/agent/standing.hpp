#pragma once

#include <string>
#include <vector>

namespace understudy::agent {

// The agent must beat and answer while the guest swaps, runs out of memory or is busy: its memory is locked,
// it is the last that the out-of-memory killer takes, and it runs before ordinary processes. Its children get
// none of this. What could not be had (no privilege) is returned, as sentences; the agent works without.
[[nodiscard]] std::vector<std::string> take_standing();

}  // namespace understudy::agent

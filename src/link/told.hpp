#pragma once

#include "config/config.hpp"

namespace understudy::link {

// Whether every guest can be told of its applications: the message that its agent will get is made as it will
// be made, and fits. Messages as config::load's, at the guest. Asked by `check` and `up`, and by the daemon.
[[nodiscard]] config::Errors check_told(const config::Config& config);

}  // namespace understudy::link

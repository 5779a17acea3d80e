#pragma once

#include "base/error.hpp"

namespace understudy::agent {

// Panics this machine's kernel, now. Returns only if it could not.
[[nodiscard]] Result<void> panic_os();

}  // namespace understudy::agent

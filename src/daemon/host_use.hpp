#pragma once

#include "base/units.hpp"

#include <sys/types.h>

namespace understudy::daemon {

// Memory of a small process of ours on the host (proportional set size); 0 when it is not there.
[[nodiscard]] Bytes process_bytes(pid_t pid);
[[nodiscard]] Bytes own_bytes();

}  // namespace understudy::daemon

#pragma once

#include "base/units.hpp"

#include <sys/types.h>

namespace understudy::daemon {

// Memory of a small process of ours on the host (proportional set size); 0 when it is not there.
[[nodiscard]] Bytes process_bytes(pid_t pid);
[[nodiscard]] Bytes own_bytes();
// What a QEMU occupies beside its guest's base memory and areas, by the kernel's counters, which cost nothing
// to read (a walk over its pages would hold up its page faults). Program text shared with others counts in
// full.
[[nodiscard]] Bytes qemu_overhead_bytes(pid_t pid, Bytes base_bytes);

}  // namespace understudy::daemon

#pragma once

#include "base/units.hpp"

#include <sys/types.h>

namespace understudy::daemon {

// Memory of a small process of ours on the host (proportional set size); 0 when it is not there.
[[nodiscard]] Bytes process_bytes(pid_t pid);
[[nodiscard]] Bytes own_bytes();
// What of its areas a QEMU has mapped and touched, by the kernel's counter, which costs nothing to read.
[[nodiscard]] Bytes mapped_areas_bytes(pid_t pid);

}  // namespace understudy::daemon

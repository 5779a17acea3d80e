#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"
#include "qemu/command_line.hpp"
#include "qemu/guest_files.hpp"
#include "qemu/guest_plan.hpp"
#include "qemu/marker.hpp"
#include "qemu/spawn.hpp"

#include <vector>

namespace understudy::qemu {

// What a guest's QEMU is started with, and the descriptors of it, which are needed until it is.
struct Launch {
  SpawnSpec spec;
  std::vector<UniqueFd> held;
};

// What a file of a QEMU's may have beyond its base memory: a crash dump has headers, registers and firmware.
inline constexpr Bytes kMostBeyondBase = 64_MiB;

// Makes the guest's files and sockets anew. With a user of its own (plan.user), QEMU is given everything that
// the daemon can reach and it cannot: sockets, images, and the directory of the areas (`areas`; -1: none).
// That the user may run there is remembered in the run directory first (see marker.hpp).
[[nodiscard]] Result<Launch> make_launch(const Qemu& qemu, const GuestPlan& plan, const Marker& marker,
                                         const GuestFiles& files, int areas);

}  // namespace understudy::qemu

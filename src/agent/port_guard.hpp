#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace understudy::agent {

// Keeps whoever is in a cgroup, or in one below it, from taking TCP ports that are others': the kernel asks a
// small program of ours at each bind() and refuses those ports (EPERM). In a network of its own (a rehearsal,
// a container that the application makes) every port is free. Linux 4.17 and newer, CONFIG_CGROUP_BPF. Who is
// root in the guest can take the program off again.
class PortGuard {
 public:
  // These ports and no others from now on; none at all: nothing is refused. cgroup: its directory, open.
  [[nodiscard]] Result<void> refuse(int cgroup, const std::vector<std::uint16_t>& ports);

 private:
  static constexpr std::size_t kFamilies = 2;  // IPv4, IPv6
  std::array<UniqueFd, kFamilies> programs_;   // those that are attached
};

}  // namespace understudy::agent

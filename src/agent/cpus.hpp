#pragma once

#include "agent/children.hpp"
#include "agent/uevents.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

namespace understudy::agent {

// Brings vCPUs online as soon as the kernel has found them. Writing "1" takes a fifth of a second under
// emulation, so a forked child does it while the agent goes on beating. They go offline by themselves: the
// kernel does that before it lets go of one.
class Cpus {
 public:
  using Say = std::function<void(const std::string&)>;

  // directory: /sys/devices/system/cpu, or one in its place in tests.
  Cpus(Children& children, std::string directory, Say say);

  void on_uevent(const Uevent& event);
  // All that are offline: some events were missed.
  void look_again();

 private:
  void bring_online(std::uint64_t cpu);
  void finished(std::uint64_t cpu);
  [[nodiscard]] std::string file(std::uint64_t cpu) const;

  Children& children_;
  std::string directory_;
  Say say_;
  std::set<std::uint64_t> under_way_;
};

// "cpu3" -> 3, from the last component of a uevent's DEVPATH or a directory entry.
[[nodiscard]] std::optional<std::uint64_t> cpu_number(std::string_view name);

}  // namespace understudy::agent

#pragma once

#include "base/units.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace understudy::agent {

// A kernel computes many of its limits once, at boot, from the memory that it has then. A guest boots with
// little and is given more, and less again: these limits are set anew each time, to what a kernel that had
// booted with all of it would have computed. What they limit lives in memory of the kernel's own, though,
// which has to fit into the base memory, so each has a cap that the base memory can carry; and none falls
// below what the kernel chose itself.
class KernelLimits {
 public:
  using Say = std::function<void(const std::string&)>;

  // directory: /proc/sys, or one in its place in tests. base: what the guest booted with.
  KernelLimits(std::string directory, Bytes base_bytes);

  // The guest has this much memory now. Limits that this kernel does not have are passed over; what cannot be
  // written is said, once.
  void adjust(Bytes total_bytes, const Say& say);

  // How many processes and threads one user may have: what a process inherits was computed at boot, too.
  // 0: not known.
  [[nodiscard]] std::uint64_t processes() const { return processes_; }

  // How many of all that the kernel can have each of so many applications may have: an equal share of what is
  // left when the kernel's own threads, the agent and whatever else the guest runs have their room. 0: not
  // known.
  [[nodiscard]] std::uint64_t processes_of_each(std::size_t applications) const;

 private:
  void write(const std::string& name, const std::vector<std::uint64_t>& numbers, const Say& say);

  std::string directory_;
  Bytes base_bytes_;
  std::map<std::string, std::vector<std::uint64_t>> at_boot_;
  std::map<std::string, std::vector<std::uint64_t>> written_;
  std::uint64_t processes_ = 0;
  bool told_ = false;
};

}  // namespace understudy::agent

#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"
#include "qemu/guest_plan.hpp"
#include "qemu/marker.hpp"

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace understudy::qemu {

// What a QEMU may use beside its guest's memory: hundreds of MiB are usual (its heap, translated code, the
// buffers of connections). So much that none is ended that does its work.
inline constexpr Bytes kMostOverhead = 4_GiB;
inline constexpr Bytes kMostOverheadOfVcpu = 128_MiB;
inline constexpr Bytes kTablesDivisor = 64;  // page tables and bitmaps, of all that the guest can have

// The most that a QEMU which does its work is charged for, areas left out: their pages are there already and
// charged to the daemon, or are added when an area is plugged (QemuCgroup::allow()).
[[nodiscard]] Bytes most_memory_of(const GuestPlan& plan);

// A cgroup v2 for the QEMU of one run, below a delegated one (base/cgroup.hpp), named after its run
// directory, guest and run. The kernel ends the QEMU when it needs more memory than its limit and nothing can
// be freed, refuses it more processes and threads than kMostThreads, and swaps nothing of it out. Letting go
// of this object leaves the cgroup alone. docs/decisions/2026-11-26-a-cgroup-for-each-qemu.md
class QemuCgroup final {
 public:
  // Makes it, and removes what former runs of this guest have left. Without limits below a cgroup that hands
  // down no controllers (base/cgroup.hpp, divide_cgroup()), which only tests do.
  [[nodiscard]] static Result<QemuCgroup> make(const std::string& delegated, const Marker& marker,
                                               Bytes memory_bytes);
  // The one that a living QEMU is in; none: it is in none of its own.
  [[nodiscard]] static std::optional<QemuCgroup> of(pid_t process, const Marker& marker);

  // A descriptor to start a process into it, and one to join by (base/cgroup.hpp); -1: of a former daemon's.
  [[nodiscard]] int directory_fd() const { return directory_fd_.get(); }
  [[nodiscard]] int processes_fd() const { return processes_fd_.get(); }
  [[nodiscard]] const std::string& directory() const { return directory_; }

  // So much more, but no more than `most` in all.
  void allow(Bytes more, Bytes most) const;
  // Whether the kernel ended a process in it because of its limit, in words; empty: it did not.
  [[nodiscard]] std::string ended_by_limit() const;
  // When nobody is in it any more; else nothing happens.
  void remove() const;

 private:
  explicit QemuCgroup(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
  UniqueFd directory_fd_;
  UniqueFd processes_fd_;
};

// The cgroups of all runs of a run directory whose QEMUs have ended.
void remove_empty_cgroups(const std::string& delegated, const std::filesystem::path& run_dir);

}  // namespace understudy::qemu

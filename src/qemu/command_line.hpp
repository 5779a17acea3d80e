#pragma once

#include "core/ids.hpp"
#include "qemu/guest_plan.hpp"
#include "qemu/marker.hpp"
#include "qemu/spawn.hpp"

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::qemu {

enum class Accelerator { kvm, tcg };
[[nodiscard]] const char* accelerator_name(Accelerator accelerator);

// What is the same for every guest of this host.
struct Qemu {
  std::string program = "qemu-system-x86_64";
  Accelerator accelerator = Accelerator::tcg;
  bool sandbox = true;             // seccomp; off where this QEMU was built without it
  std::filesystem::path firmware;  // qboot, which starts a kernel faster than SeaBIOS; empty: QEMU's default
  std::uint64_t tsc_khz = 0;       // see host_tsc.hpp; 0: not known
  bool own_network = false;        // each has a network of its own, not the host's (qemu/spawn.hpp)
};

// Descriptors that QEMU is given: sockets that listen already.
inline constexpr int kQmpFd = kFirstPassedFd;
inline constexpr int kAgentFd = kFirstPassedFd + 1;

// The name of the agent's virtio-serial port; docs/agent-protocol.md.
inline constexpr const char* kAgentPort = "org.understudy.agent.0";

// With a user of its own it is given more of them, since it could not get at the files itself.
inline constexpr int kKernelFd = kFirstPassedFd + 2;
inline constexpr int kInitramfsFd = kFirstPassedFd + 3;
inline constexpr int kDiskFd = kFirstPassedFd + 4;
inline constexpr int kAreasFd = kFirstPassedFd + 5;  // the directory of the areas' files
// The directory of the areas as such a QEMU names it. A name like this needs no permission for the
// directories above.
inline constexpr const char* kAreasOfFd = "/proc/self/fd/8";

enum class ImageAccess { by_path, by_descriptor };

// The whole command line of a guest, program first.
[[nodiscard]] std::vector<std::string> command_line(const Qemu& qemu, const GuestPlan& plan,
                                                    const Marker& marker,
                                                    ImageAccess access = ImageAccess::by_path);

// Whether the guest of a QEMU with this command line was offered to suspend itself (ACPI S3 and S4): its
// vCPUs stop then, and an alarm of its clock lets them go on. No guest of ours is, but one of an earlier
// version of this program may be.
[[nodiscard]] bool offers_suspend(const std::vector<std::string>& argv);

// The end of base memory in the guest's physical address space. Areas are plugged in above it: no address
// below belongs to one.
[[nodiscard]] std::uint64_t end_of_base(Bytes base_bytes);

// Names of an area's objects inside its guest's QEMU.
[[nodiscard]] std::string backend_id(core::AreaId area);  // "mem-0007"
[[nodiscard]] std::string dimm_id(core::AreaId area);     // "dimm-0007"
// The name of an application's vCPU inside its guest's QEMU, from which a later daemon knows whose it is.
[[nodiscard]] std::string vcpu_id(core::AppId app, std::uint32_t index);  // "vcpu-0-1"
struct VcpuName {
  core::AppId app;
  std::uint32_t index = 0;
  auto operator<=>(const VcpuName&) const = default;
};
[[nodiscard]] std::optional<VcpuName> vcpu_of_id(std::string_view id);
// The area of a name with that prefix ("mem-" or "dimm-"), if it is one.
[[nodiscard]] std::optional<core::AreaId> area_of_id(std::string_view id, std::string_view prefix);

}  // namespace understudy::qemu

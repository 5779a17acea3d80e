#pragma once

#include "base/error.hpp"
#include "core/ids.hpp"
#include "qemu/command_line.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

// Readers of QMP answers; each checks the form and says which answer was wrong.
namespace understudy::qemu {

inline constexpr std::size_t kMostPlaces = 512;  // for vCPUs; a q35 machine has at most 288

struct RunStatus {
  bool running = true;
  std::string
      name;  // "running", "paused", "guest-panicked", "shutdown", "internal-error", ...; fit to be shown
  // Not running, and nothing but a command of its monitor can change that: neither a device (an alarm of its
  // clock ends "suspended"), nor the end of something that QEMU is doing ("inmigrate", "save-vm",
  // "restore-vm", "finish-migrate", "colo"), nor whoever holds another socket ("debug"). What is not known
  // here ends by itself for all that is known.
  [[nodiscard]] bool only_a_command_ends_it() const;
};
[[nodiscard]] Result<RunStatus> read_status(const boost::json::value& reply);  // query-status

struct PluggedArea {
  core::AreaId area;
  std::uint64_t guest_address = 0;  // in the guest's physical address space, bytes
};
// Our DIMMs among query-memory-devices' answer.
[[nodiscard]] Result<std::vector<PluggedArea>> read_memory_devices(const boost::json::value& reply);

// Whether KVM runs it: query-kvm. Nothing: QEMU does not say.
[[nodiscard]] std::optional<bool> read_kvm(const boost::json::value& reply);

// The areas whose backing exists, with or without a device: qom-list of /objects.
[[nodiscard]] Result<std::vector<core::AreaId>> read_backends(const boost::json::value& reply);

// One place for a vCPU: query-hotpluggable-cpus.
struct VcpuPlace {
  std::string type;           // the driver for device_add
  boost::json::object props;  // and its other arguments: "core-id", "socket-id", ...
  bool taken = false;
  std::optional<VcpuName> name;  // of the vCPU in it, if it is an application's
};
// Free places in the order in which they are to be used.
[[nodiscard]] Result<std::vector<VcpuPlace>> read_hotpluggable_cpus(const boost::json::value& reply);

}  // namespace understudy::qemu

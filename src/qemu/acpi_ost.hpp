// ACPI 6.5, 6.3.5.2: what a guest's OS says (_OST) to a request to eject a device.
#pragma once

#include <cstdint>

namespace understudy::qemu {

// Linux says it of a vCPU with either source.
inline constexpr std::int64_t kOstEjectRequest = 3;
inline constexpr std::int64_t kOstEjectByOs = 0x103;
inline constexpr std::int64_t kOstSuccess = 0;
inline constexpr std::int64_t kOstInProgress = 0x84;

}  // namespace understudy::qemu

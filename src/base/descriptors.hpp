#pragma once

#include <cstddef>

namespace understudy {

// Descriptors that strangers' connections leave to what must go on: a takeover opens sockets, pidfds and
// files.
inline constexpr std::size_t kReservedDescriptors = 64;

// Whether a descriptor that was just opened is one of the reserved: the kernel gives the lowest that is free,
// so its number says how many are in use.
[[nodiscard]] bool is_reserved(int descriptor);

}  // namespace understudy

#pragma once

#include <cstddef>

namespace understudy {

// Descriptors that strangers' connections leave to what must go on: a takeover opens sockets, pidfds and
// files.
inline constexpr std::size_t kReservedDescriptors = 64;

// Raises this process's limit of open descriptors as far as it goes; returns what it is then.
std::size_t raise_descriptor_limit();
// Whether a descriptor that was just opened is one of the reserved: the kernel gives the lowest that is free,
// so its number says how many are in use.
[[nodiscard]] bool is_reserved(int descriptor);

}  // namespace understudy

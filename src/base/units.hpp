#pragma once

#include "base/error.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace understudy {

using Bytes = std::uint64_t;

inline constexpr Bytes operator""_KiB(unsigned long long n) {
  return n << 10;
}
inline constexpr Bytes operator""_MiB(unsigned long long n) {
  return n << 20;
}
inline constexpr Bytes operator""_GiB(unsigned long long n) {
  return n << 30;
}

// Of x86-64, the only architecture so far.
inline constexpr Bytes kPageBytes = 4_KiB;

// "512 MiB", "1 GiB", "4096 B", "64KiB". Binary units only; a bare number is refused, because half of all
// readers would guess its unit wrong.
[[nodiscard]] Result<Bytes> parse_size(std::string_view text);
// The largest unit that divides the amount exactly, else MiB with one decimal: "1 GiB", "1008 MiB", "93.4
// MiB".
[[nodiscard]] std::string format_size(Bytes bytes);

// "200 ms", "10 s", "2 min", "1 h", "500 us".
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);
[[nodiscard]] std::string format_duration(Duration duration);
// As people read what was measured: "440 ms", "17.0 s", "35 min", "26 h".
[[nodiscard]] std::string readable_duration(Duration duration);

// Milliseconds as they stand in messages and files, rounded up: what was asked for is never cut short.
[[nodiscard]] std::uint64_t whole_ms(Duration duration);

}  // namespace understudy

#pragma once

#include <cstdint>

namespace understudy::qemu {

// How fast the time stamp counter of this host counts, in thousands a second, measured over 20 ms, for which
// it waits; 0: there is none. It is also what a guest under TCG reads (QEMU 7.2, cpu_get_tsc() in
// hw/i386/x86.c). Such a guest cannot find that out well by itself: its processor stands still whenever the
// host is busy. Of 43 boots on a loaded host one found 200 MHz instead of 2445, and its clock ran 12 times
// too fast from then on, with every limit and every health check in it.
[[nodiscard]] std::uint64_t host_tsc_khz();

}  // namespace understudy::qemu

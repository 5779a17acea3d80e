#pragma once

#include "base/units.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

// What a configuration is held against. The memory figures come from measurements of Debian 12's 6.1 kernel.
namespace understudy::config {

inline constexpr std::size_t kLargestFileBytes = 1 << 20;
inline constexpr std::size_t kMostSyntaxErrors = 20;  // reported at once; more of them are one mistake's echo
inline constexpr std::size_t kMostErrors = 200;
inline constexpr std::size_t kLongestError = 4096;  // bytes; the budget's may name every application

inline constexpr int kDeepest = 6;  // [[application]] health.command needs 4
// In a line: every dot of a key nests a table, and the library recurses.
inline constexpr std::size_t kMostDots = 256;
inline constexpr std::size_t kMostPasses = 60;        // readings of the text, so that a hostile one ends soon
inline constexpr std::size_t kLongestStatement = 64;  // lines looked back for the start of a statement

// A look into the image.
inline constexpr std::size_t kMostLinks = 16;  // from one file to the next
inline constexpr std::size_t kMostListedBytes = 64 << 20;
inline constexpr std::chrono::seconds kListingLimit{10};

inline constexpr std::size_t kLongestName = 32;
inline constexpr std::size_t kMostGuests = 64;
inline constexpr std::size_t kMostApplications = 64;
inline constexpr std::size_t kMostHooks = 64;
inline constexpr std::uint32_t kMostDumps = 1000;
inline constexpr std::size_t kMostArguments = 256;
inline constexpr std::size_t kLongestArgument = 4096;
inline constexpr std::size_t kMostVariables = 256;
inline constexpr std::size_t kLargestEnvironmentFileBytes = 256 << 10;
inline constexpr std::size_t kLongestVariable = 128;  // its name
inline constexpr std::uint32_t kMostId = 0xfffffffe;  // the last one means nobody to the kernel
inline constexpr std::size_t kLongestUser = 32;       // as useradd has it
inline constexpr int kMostPriority = 1000;            // and the least is as far below 0
inline constexpr std::uint32_t kMostCounted = 1000;   // failures, attempts and takeovers
inline constexpr std::size_t kMostScratch = 16;       // directories of one application

inline constexpr Bytes kLargestSize = 16ULL << 40;  // sums of a whole file stay far below 64 bits
inline constexpr Bytes kMemoryBlock = 128_MiB;      // what Linux on x86 adds and removes at once
inline constexpr std::uint32_t kMostAreas = 16384;
inline constexpr std::uint32_t kMostSlots = 256;  // ACPI_MAX_RAM_SLOTS of QEMU
inline constexpr std::uint32_t kMostVcpus = 64;   // of a guest, those of its applications included
inline constexpr std::uint32_t kMostApplicationVcpus = 16;

inline constexpr Bytes kSmallestBase = 96_MiB;
// What the guest's kernel, agent and initramfs take of the base memory (assumed; measured 60 to 80 MiB).
inline constexpr Bytes kOsFootprint = 80_MiB;
// An area of exactly one memory block carries its own struct pages (memmap_on_memory) and so yields 2 MiB
// less; the guest then needs next to nothing of its base memory for it.
inline constexpr Bytes kMemmapOfBlock = 2_MiB;
inline constexpr Bytes kSpareWithOwnMemmap = 4_MiB;
// The page tables of what is attached are the kernel's own memory all the same: 8 B for every 4 KiB.
inline constexpr Bytes kPageTablesDivisor = 512;
// Larger areas take their struct pages from the base memory: 64 B for every 4 KiB, with the zone's tables 1.6
// %. An attach that runs out of base memory leaks what it took and QEMU reports success: hence the spare.
inline constexpr Bytes kMemmapPerThousand = 16;
inline constexpr Bytes kSpareForMemmap = 32_MiB;

// A dump has ELF headers and the registers of every vCPU beside the memory itself.
inline constexpr Bytes kDumpOverhead = 1_MiB;

static_assert(kSmallestBase >= kOsFootprint + kSpareWithOwnMemmap);
static_assert(kLargestSize / kMemoryBlock > kMostAreas);

}  // namespace understudy::config

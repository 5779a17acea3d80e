#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// What either side of the agent protocol may send at most. A message beyond a limit is refused as a whole.
namespace understudy::protocol {

inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::string_view kPortName = "org.understudy.agent.0";  // the virtio-serial port

// Bytes of one line, without its newline.
inline constexpr std::size_t kMaxLineToDaemon = 16 * 1024;
inline constexpr std::size_t kMaxLineToAgent = 64 * 1024;

inline constexpr std::size_t kMaxNameBytes = 64;        // guest and application names, users
inline constexpr std::size_t kMaxWhyBytes = 512;        // one sentence: why, cause, log
inline constexpr std::size_t kMaxEvidenceBytes = 4096;  // last lines of an application's output
inline constexpr std::size_t kMaxTailBytes = 7 * 1024;  // of an application's output, asked for
inline constexpr std::size_t kMaxArgumentBytes = 4096;  // one argument or environment value
inline constexpr std::size_t kMaxArguments = 256;       // of one command
inline constexpr std::size_t kMaxEnvironment = 256;     // variables
inline constexpr std::size_t kMaxApplications = 64;
inline constexpr std::size_t kMaxStates = 2 * kMaxApplications;  // each with its twin for rehearsals
inline constexpr std::size_t kMaxScratch = 16;                   // directories of one application
inline constexpr std::size_t kMaxAreas = 256;                    // QEMU has no more memory slots than that
inline constexpr std::size_t kMaxDepth = 8;                      // of nesting; the deepest message needs 5

// A day: no limit, delay or interval of ours is longer, and no sum of two of them overflows.
inline constexpr std::uint64_t kMaxDurationMs = 24ULL * 3600 * 1000;
// 2^52: more memory than a physical address can reach, and far from overflowing a sum of areas.
inline constexpr std::uint64_t kMaxBytes = 1ULL << 52;
inline constexpr std::uint64_t kMaxEpoch = 1ULL << 53;
inline constexpr std::uint64_t kMaxNumber = 0xffffffff;  // ids, counts

// In the worst text every byte is escaped to two (controls are replaced before, see text.hpp); the longest
// message from an agent (faulted: a cause and the evidence) and the longest list (released) must fit a line.
static_assert(2 * (kMaxEvidenceBytes + kMaxWhyBytes) + 512 < kMaxLineToDaemon);
static_assert(2 * kMaxTailBytes + 512 < kMaxLineToDaemon);
static_assert(kMaxAreas * sizeof("4294967295,") + 2 * kMaxWhyBytes + 512 < kMaxLineToDaemon);
static_assert(kMaxStates *
                      sizeof(R"({"app":4294967295,"epoch":9007199254740992,"phase":"wanting_memory"},)") +
                  512 <
              kMaxLineToDaemon);
static_assert(kMaxAreas *
                      sizeof(R"({"id":4294967295,"address":4503599627370496,"bytes":4503599627370496},)") +
                  512 <
              kMaxLineToAgent);

}  // namespace understudy::protocol

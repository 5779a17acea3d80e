#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace understudy::gateway {

using std::chrono::milliseconds;

inline constexpr std::size_t kMostServices = 256;      // applications with an address
inline constexpr std::size_t kMostWaiting = 1024;      // connections held per application while it is down
inline constexpr std::size_t kMostConnected = 8192;    // connections of one application, those included
inline constexpr std::size_t kChunkBytes = 128 << 10;  // most that is passed on at once
inline constexpr int kBacklog = 1024;       // connections that the kernel holds before they are accepted
inline constexpr int kAcceptsPerWake = 16;  // then others have their turn
inline constexpr std::size_t kReservedDescriptors =
    64;  // for listening, control and whatever the libraries open
inline constexpr std::size_t kDescriptorsPerConnection = 2;
inline constexpr milliseconds kAcceptPause{100};  // when no descriptor was left
inline constexpr milliseconds kSayAgain{10'000};  // the same complaint in the log

// A connection attempt to the application. The first is short: an application, or the forwarder before it,
// whose backlog is full drops the attempt without a word, and the kernel would only repeat it after a second.
inline constexpr milliseconds kFirstAttempt{5};
inline constexpr milliseconds kLongestAttempt{1000};
inline constexpr milliseconds kRetryPause{3};
inline constexpr milliseconds kStrangerPause{100};  // while somebody else listens at the guest's port

inline constexpr std::size_t kMostSessions = 16;    // on the control socket
inline constexpr std::size_t kLongestAppName = 64;  // bytes
inline constexpr std::uint32_t kLongestWaitMs = 24 * 3600 * 1000;
inline constexpr std::size_t kLongestRequest = 16 << 10;    // bytes of a line
inline constexpr std::size_t kLongestAnswer = 512 << 10;    // bytes of a line, status with the most services
inline constexpr std::size_t kMostUnsentAnswers = 1 << 20;  // bytes for a session that does not read

// How long the daemon waits for its gateway.
inline constexpr milliseconds kStartLimit{10'000};
inline constexpr milliseconds kAnswerLimit{5'000};  // at the start, when nothing else is urgent
inline constexpr milliseconds kWithdrawWait{8};     // in the middle of a takeover, on the daemon's loop
inline constexpr milliseconds kWithdrawLimit{100};  // then it is said; nothing waits for it
inline constexpr milliseconds kQuitLimit{2'000};
inline constexpr milliseconds kRestartPause{1'000};  // between attempts to start a gateway that ended
inline constexpr milliseconds kPingInterval{1'000};
inline constexpr milliseconds kPingLimit{5'000};  // one that answers nothing for so long hangs, and is ended
static_assert(kPingLimit >= 3 * kPingInterval, "one late answer is no hang");
inline constexpr std::size_t kMostUnsentRequests = 1 << 20;  // bytes for a gateway that does not read

// The check of the clients' way to an application. A guest's kernel refuses within milliseconds, an emulated
// one on a busy host within tens; silence for as long as this means that somebody waits for a client's first
// word.
inline constexpr milliseconds kPathWatch{300};
inline constexpr milliseconds kPathSettled{30};  // enough where the same application was reached before
static_assert(kPathSettled < kPathWatch);
inline constexpr unsigned kPathAttempts = 5;   // that fail before it is said
inline constexpr milliseconds kPathPause{50};  // before the second; doubled each time
inline constexpr milliseconds kLongestPathPause{1'000};
inline constexpr std::size_t kMostHeardBytes = 120;  // of what it said before it closed, for a person

}  // namespace understudy::gateway

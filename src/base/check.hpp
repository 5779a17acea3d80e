#pragma once

// Invariants are checked in release builds too: a VMM that goes on after its table is wrong can lose
// somebody's data, one that stops is restarted and resumes from its journal. Operating errors (a guest that
// lies, a disk that is full) are handled, never checked with this.
#define US_CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::understudy::check_failed(#condition, __FILE__, __LINE__))

namespace understudy {

// Writes "FILE:LINE: invariant violated: TEXT" to standard error and aborts.
[[noreturn]] void check_failed(const char* text, const char* file, int line);

}  // namespace understudy

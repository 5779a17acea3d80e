#pragma once

#include "base/bounded_file.hpp"
#include "base/time.hpp"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

namespace understudy::control {

// Writes lines to files in a thread of its own: a disk that stalls, or a terminal that was stopped, holds up
// nobody who says something. Lines beyond those that wait already are dropped and counted; events are in
// memory besides.
class LineWriter final {
 public:
  static constexpr std::size_t kMostWaiting = 10'000;  // lines
  static constexpr std::uint64_t kMostEventBytes = 4ULL << 20;
  static constexpr std::uint64_t kMostLogBytes = 2ULL << 20;

  // `events` gets every event, and keeps of the older ones what event_history.hpp says. The standard output
  // gets every line, unless it is the file `log`: then that file does, is bounded as well, and the standard
  // output and error follow it when it is begun anew.
  LineWriter(const std::filesystem::path& events, const std::filesystem::path& log);
  // Waits a while for what is not written yet.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  void add(const std::string& line);
  // Until everything is written, or the limit has passed. Not for the loop.
  void flush(Duration limit) const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // the thread has a share: one that hangs in the kernel is left behind
};

}  // namespace understudy::control

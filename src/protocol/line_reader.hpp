#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace understudy::protocol {

// Cuts a stream of bytes into lines, never holding more than one line of the allowed length.
class LineReader {
 public:
  enum class OnOversized {
    fail,           // every later take() says oversized: the stream is not trusted any more
    resynchronise,  // said once; the rest of that line is dropped, the next line is read
  };
  enum class Found { nothing, line, oversized };

  LineReader(std::size_t max_line_bytes, OnOversized on_oversized);

  // Takes bytes from the front of `input` until one line is complete (the newline is taken too), the line is
  // found to be too long, or the input is used up. Call again while it does not return nothing.
  [[nodiscard]] Found take(std::string_view& input);

  // The line that take() just found; valid until the next take().
  [[nodiscard]] std::string_view line() const { return line_; }

  // Forgets a partial line (and a failure): the stream begins anew.
  void reset();

 private:
  enum class State { reading, complete, dropping, failed };

  Found oversized(std::string_view& input);

  std::size_t max_line_bytes_;
  OnOversized on_oversized_;
  State state_ = State::reading;
  std::string line_;
};

}  // namespace understudy::protocol

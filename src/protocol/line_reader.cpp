#include "protocol/line_reader.hpp"

#include <algorithm>

namespace understudy::protocol {

LineReader::LineReader(std::size_t max_line_bytes, OnOversized on_oversized)
    : max_line_bytes_(max_line_bytes), on_oversized_(on_oversized) {
  // Reserved once and whole: growing by doubling could hold up to twice the bound.
  line_.reserve(max_line_bytes);
}

LineReader::Found LineReader::take(std::string_view& input) {
  if (state_ == State::failed) {
    input = {};
    return Found::oversized;
  }
  if (state_ == State::complete) {
    line_.clear();
    state_ = State::reading;
  }
  if (state_ == State::dropping) {
    const std::size_t end = input.find('\n');
    if (end == std::string_view::npos) {
      input = {};
      return Found::nothing;
    }
    input.remove_prefix(end + 1);
    state_ = State::reading;
  }
  const std::size_t end = std::min(input.find('\n'), input.size());
  if (line_.size() + end > max_line_bytes_) return oversized(input);
  line_.append(input.substr(0, end));
  const bool complete = end < input.size();
  input.remove_prefix(complete ? end + 1 : end);
  if (!complete) return Found::nothing;
  state_ = State::complete;
  return Found::line;
}

LineReader::Found LineReader::oversized(std::string_view& input) {
  line_.clear();
  if (on_oversized_ == OnOversized::fail) {
    state_ = State::failed;
    input = {};
  } else {
    state_ = State::dropping;  // its newline, if it is in the input already, is found by the next take()
  }
  return Found::oversized;
}

void LineReader::reset() {
  line_.clear();
  state_ = State::reading;
}

}  // namespace understudy::protocol

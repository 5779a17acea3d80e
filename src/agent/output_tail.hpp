#pragma once

#include <string>
#include <string_view>

namespace understudy::agent {

// The last lines of an application's output, as evidence; never more than its bound.
class OutputTail {
 public:
  static constexpr std::size_t kMaxBytes = 4096;

  void add(std::string_view bytes);
  // Reads what there is from a non-blocking descriptor, at most so much at a time that a program that floods
  // its output does not keep the loop busy. False: end of file.
  bool read_from(int fd);

  // Whole lines, unless the last one alone is longer than the bound.
  [[nodiscard]] std::string_view text() const;

 private:
  std::string kept_;  // up to twice the bound before its front is dropped
  bool cut_ = false;
};

}  // namespace understudy::agent

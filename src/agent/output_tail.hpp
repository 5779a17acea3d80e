#pragma once

#include <string>
#include <string_view>

namespace understudy::agent {

// The last lines of an application's output, as evidence; never more than its bound.
class OutputTail {
 public:
  static constexpr std::size_t kMaxBytes = 4096;

  explicit OutputTail(std::size_t most_bytes = kMaxBytes) : most_bytes_(most_bytes) {}

  void add(std::string_view bytes);
  // Reads what there is from a non-blocking descriptor, at most so much at a time that a program that floods
  // its output does not keep the loop busy. `also`: another that is to have the same. False: end of file.
  bool read_from(int fd, OutputTail* also = nullptr);

  // Whole lines, unless the last one alone is longer than the bound.
  [[nodiscard]] std::string_view text() const;

 private:
  std::size_t most_bytes_;
  std::string kept_;  // up to twice the bound before its front is dropped
  bool cut_ = false;
};

}  // namespace understudy::agent

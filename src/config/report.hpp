#pragma once

#include "config/config.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

// A text of the file as it may be shown: in double quotes, cut to a readable length, nothing in it that a
// terminal would obey.
[[nodiscard]] std::string in_quotes(std::string_view text);

// Collects what is wrong with one file.
class Report {
 public:
  void add(Where at, std::string text);
  [[nodiscard]] bool empty() const { return found_.empty(); }
  // In file order, "NAME:LINE:COLUMN: text".
  [[nodiscard]] Errors take(const std::string& name);

 private:
  struct Found {
    Where at;
    std::string text;
  };
  std::vector<Found> found_;
};

}  // namespace understudy::config

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace understudy {

// "1 application", "2 applications"; `plural` where an s is not enough.
[[nodiscard]] inline std::string counted(std::uint64_t count, std::string_view noun,
                                         std::string_view plural = {}) {
  std::string text = std::to_string(count) + " ";
  if (count != 1 && !plural.empty()) return text.append(plural);
  return text.append(noun).append(count == 1 ? "" : "s");
}

}  // namespace understudy

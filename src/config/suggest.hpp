#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

// "; did you mean X?" for the candidate that `text` is most likely a misspelling of, else nothing.
[[nodiscard]] std::string did_you_mean(std::string_view text,
                                       const std::vector<std::string_view>& candidates);

}  // namespace understudy::config

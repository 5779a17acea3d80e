#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace understudy {

// A text that somebody else wrote, as a part of one of our sentences: at most `most_bytes` of it ("..." says
// that there is more), and '?' for every byte that is not printable ASCII. So no text can drive a terminal,
// begin a line of its own, or bury the sentence.
[[nodiscard]] std::string shown(std::string_view text, std::size_t most_bytes);

}  // namespace understudy

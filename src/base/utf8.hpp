#pragma once

#include <cstddef>
#include <string_view>

namespace understudy {

// Bytes of the character at the front of a text that is not empty, when it is well-formed UTF-8; else 0.
[[nodiscard]] std::size_t utf8_character_bytes(std::string_view text);

// Whether this one character is a control: C0 (newline and tab are), DEL, or C1, which drives terminals too.
[[nodiscard]] bool is_control(std::string_view character);

}  // namespace understudy

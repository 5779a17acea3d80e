#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

// What a fuzzer demands beyond "does not crash". A demand that does not hold aborts, which libFuzzer and the
// replay both report together with the input.
#define US_PROPERTY(condition, shown_value) \
  (static_cast<bool>(condition)             \
       ? void(0)                            \
       : ::understudy::fuzz::property_failed(#condition, (shown_value), __FILE__, __LINE__))

namespace understudy::fuzz {

[[noreturn]] inline void property_failed(const char* text, std::string_view shown_value, const char* file,
                                         int line) {
  std::fprintf(stderr, "%s:%d: property does not hold: %s\n  of: %.*s\n", file, line, text,
               static_cast<int>(shown_value.size()), shown_value.data());
  std::fflush(stderr);
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Nothing that drives a terminal or begins a line: no C0 control, DEL, or byte that is not UTF-8, and no C1
// control in two bytes (U+0080 to U+009F).
inline bool printable_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x20 || lead == 0x7f) return false;
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (length == 0 || lead > 0xf4 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    if (lead == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0) return false;
    i += length;
  }
  return true;
}

// A message for a person: one line, nothing strange in it, and not the whole input back.
inline void check_error(std::string_view message, std::size_t most_bytes) {
  US_PROPERTY(!message.empty(), message);
  US_PROPERTY(message.size() <= most_bytes, message);
  US_PROPERTY(printable_utf8(message), message);
}

}  // namespace understudy::fuzz

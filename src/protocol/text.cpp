#include "protocol/text.hpp"

#include "base/utf8.hpp"

#include <algorithm>

namespace understudy::protocol {

namespace {

bool continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

bool unfit(std::string_view character) {
  return is_control(character) && character != "\n" && character != "\t";
}

}  // namespace

std::string clean_text(std::string_view text, std::size_t max_bytes) {
  std::string clean;
  clean.reserve(text.size() < max_bytes ? text.size() : max_bytes);
  while (!text.empty()) {
    const std::size_t length = utf8_character_bytes(text);
    const std::size_t used = length == 0 ? 1 : length;
    const bool bad = length == 0 || unfit(text.substr(0, length));
    const std::string_view piece = bad ? std::string_view("?") : text.substr(0, length);
    if (clean.size() + piece.size() > max_bytes) break;
    clean += piece;
    text.remove_prefix(used);
  }
  return clean;
}

std::string clean_line(std::string_view text, std::size_t max_bytes) {
  std::string clean = clean_text(text, max_bytes);
  std::replace(clean.begin(), clean.end(), '\n', ' ');
  return clean;
}

std::string clean_tail(std::string_view text, std::size_t max_bytes) {
  if (text.size() > max_bytes) {
    text.remove_prefix(text.size() - max_bytes);
    while (!text.empty() && continuation(text.front())) text.remove_prefix(1);
  }
  return clean_text(text, max_bytes);
}

}  // namespace understudy::protocol

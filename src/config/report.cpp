#include "config/report.hpp"

#include "base/utf8.hpp"
#include "config/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace understudy::config {

namespace {

constexpr std::size_t kLongestQuote = 60;

// Controls and bytes that are no UTF-8 as \xNN; everything else as it is.
std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t good = utf8_character_bytes(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(good, 1));
    if (good != 0 && !is_control(character)) {
      out += character;
    } else {
      for (const char byte : character) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
    text.remove_prefix(character.size());
  }
  return out;
}

// The front of a text, cut between two characters.
std::string cut(std::string_view text, std::size_t most_bytes) {
  if (text.size() <= most_bytes) return std::string(text);
  std::size_t end = most_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace

std::string in_quotes(std::string_view text) {
  return '"' + printable(cut(text, kLongestQuote)) + '"';
}

void Report::add(Where at, std::string text) {
  if (found_.size() < kMostErrors) found_.push_back({at, cut(printable(text), kLongestError)});
}

Errors Report::take(const std::string& name) {
  std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
    return std::tie(a.at.line, a.at.column) < std::tie(b.at.line, b.at.column);
  });
  Errors errors;
  errors.reserve(found_.size());
  for (const Found& found : found_) {
    errors.push_back(
        fmt::format("{}:{}:{}: {}", printable(name), found.at.line, found.at.column, found.text));
  }
  found_.clear();
  return errors;
}

}  // namespace understudy::config

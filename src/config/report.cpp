#include "config/report.hpp"

#include "config/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace understudy::config {

namespace {

constexpr std::size_t kLongestQuote = 60;

// Control characters and DEL as \xNN; everything else, UTF-8 included, as it is.
std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string in_quotes(std::string_view text) {
  if (text.size() <= kLongestQuote) return '"' + printable(text) + '"';
  std::size_t end = kLongestQuote;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a character
  return '"' + printable(text.substr(0, end)) + "...\"";
}

void Report::add(Where at, std::string text) {
  if (found_.size() < kMostErrors) found_.push_back({at, printable(text)});
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

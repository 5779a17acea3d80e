#include "base/shown.hpp"

namespace understudy {

std::string shown(std::string_view text, std::size_t most_bytes) {
  const std::string_view kept = text.substr(0, most_bytes);
  std::string out;
  out.reserve(kept.size() + 3);
  for (const char c : kept) out += c >= ' ' && c < 0x7f ? c : '?';
  if (kept.size() < text.size()) out += "...";
  return out;
}

}  // namespace understudy

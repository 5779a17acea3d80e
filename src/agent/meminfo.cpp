#include "agent/meminfo.hpp"

#include "agent/os.hpp"

#include <optional>

namespace understudy::agent {

namespace {

// The line's value: "MemTotal:       131072 kB".
std::optional<Bytes> value_of(std::string_view text, std::string_view name) {
  const std::size_t at = text.find(name);
  if (at == std::string_view::npos || (at != 0 && text[at - 1] != '\n')) return std::nullopt;
  std::string_view line = text.substr(at + name.size());
  line = trim(line.substr(0, line.find('\n')));
  if (!line.ends_with(" kB")) return std::nullopt;
  const auto kib = parse_number(trim(line.substr(0, line.size() - 3)));
  if (!kib || *kib > UINT64_MAX / 1024) return std::nullopt;
  return *kib * 1024;
}

}  // namespace

Result<MemInfo> parse_meminfo(std::string_view text) {
  const auto total = value_of(text, "MemTotal:");
  const auto available = value_of(text, "MemAvailable:");
  if (!total || !available) return failure("no MemTotal and MemAvailable in meminfo");
  return MemInfo{*total, *available};
}

MemInfo read_meminfo(const std::string& path) {
  auto text = read_file(path);
  if (!text) return {};
  return parse_meminfo(*text).value_or(MemInfo{});
}

}  // namespace understudy::agent

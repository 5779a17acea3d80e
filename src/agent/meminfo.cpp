#include "agent/meminfo.hpp"

#include "base/kernel_files.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace understudy::agent {

namespace {

// The line's value: "MemTotal:       131072 kB".
std::optional<Bytes> value_of(std::string_view text, std::string_view name) {
  std::size_t at = text.find(name);
  while (at != std::string_view::npos && at != 0 && text[at - 1] != '\n') at = text.find(name, at + 1);
  if (at == std::string_view::npos) return std::nullopt;
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

std::string describe_use(std::string_view meminfo) {
  const auto value = [&](std::string_view name) { return value_of(meminfo, name).value_or(0); };
  const Bytes shared = value("Shmem:");
  const Bytes cached = value("Cached:");
  const std::pair<Bytes, const char*> parts[] = {{value("AnonPages:"), "of programs"},
                                                 {shared, "in files in memory"},
                                                 {cached - std::min(cached, shared), "of page cache"},
                                                 {value("Unevictable:"), "locked"}};
  std::string text;
  for (const auto& [bytes, what] : parts) {
    if (bytes >= 1_MiB) text += (text.empty() ? "" : ", ") + format_size(bytes / 1_MiB * 1_MiB) + " " + what;
  }
  return text;
}

}  // namespace understudy::agent

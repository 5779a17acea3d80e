#include "config/config.hpp"
#include "config/report.hpp"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace understudy::config {

namespace {

// A group keeps root off nothing.
bool is_root(std::string_view user) {
  const std::string_view name = user.substr(0, user.find(':'));
  std::uint64_t number = 1;
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), number);
  return name == "root" || (code == std::errc() && end == name.data() + name.size() && number == 0);
}

// Applications are kept from each other in a guest that they share, but for root.
std::vector<std::string> remarks_on_root(const Config& config) {
  std::vector<std::string> all;
  for (const Application& each : config.applications) {
    if (!is_root(each.user)) continue;
    std::vector<std::string> others;
    for (const Application& other : config.applications) {
      if (&other != &each && share_a_guest(each, other)) others.push_back(other.name);
    }
    if (others.empty()) continue;
    all.push_back(fmt::format(
        "{} runs as root and shares a guest with {}, so it can read, change and stop what is theirs: "
        "give it another `user`, a number will do (user = \"61001\")",
        each.name, fmt::join(others, ", ")));
  }
  return all;
}

}  // namespace

std::vector<std::string> remarks(const Config& config) {
  std::vector<std::string> all;
  struct stat info {};
  const bool open_to_others = ::stat(config.file.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
                              (info.st_mode & (S_IRGRP | S_IROTH)) != 0;
  for (const Application& each : config.applications) {
    if (!open_to_others || !each.environment_in_file) continue;
    all.push_back(
        fmt::format("others can read {} (mode {:04o}), and it sets environment of {}: keep secrets in an "
                    "environment_file, or close it with `chmod 0600 {}`",
                    config.file.string(), info.st_mode & 07777U, each.name, config.file.string()));
  }
  for (std::string& each : remarks_on_root(config)) all.push_back(std::move(each));
  return all;
}

}  // namespace understudy::config

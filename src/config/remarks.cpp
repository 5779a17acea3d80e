#include "config/config.hpp"
#include "config/report.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

namespace understudy::config {

namespace {

// The same for "61001" and "61001:61000": a group keeps no process off.
std::string id_of(std::string_view user) {
  const std::string_view name = user.substr(0, user.find(':'));
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (code == std::errc() && end == name.data() + name.size()) return std::to_string(number);
  return name == "root" ? "0" : std::string(name);
}

// Applications that run as one user in a guest that they share, by that user.
std::vector<std::string> remarks_on_users(const Config& config) {
  std::map<std::string, std::vector<const Application*>> sharing;
  for (const Application& each : config.applications) {
    const bool shares =
        std::any_of(config.applications.begin(), config.applications.end(), [&](const Application& other) {
          return &other != &each && id_of(other.user) == id_of(each.user) && share_a_guest(each, other);
        });
    if (shares) sharing[id_of(each.user)].push_back(&each);
  }
  std::vector<std::string> all;
  for (const auto& [id, applications] : sharing) {
    std::string names;
    for (const Application* each : applications) {
      if (!names.empty()) names += each == applications.back() ? " and " : ", ";
      names += each->name;
    }
    all.push_back(
        fmt::format("{} share a guest and run as {} there, so each can {}: give each a `user` of its "
                    "own, a number will do (user = \"61001\")",
                    names, in_quotes(applications.front()->user),
                    id == "0" ? "read, change and stop the others" : "stop the others' processes"));
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
  for (std::string& each : remarks_on_users(config)) all.push_back(std::move(each));
  return all;
}

}  // namespace understudy::config

#pragma once

#include "base/error.hpp"
#include "config/config.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace understudy::daemon {

// What rehearsals have proven, for the daemon that comes after this one. By the wall clock, since the host
// may start again meanwhile.
struct ProofRow {
  std::string app;
  std::string guest;
  std::chrono::system_clock::time_point at;
  bool start = false;
  Duration took{};
  Bytes bytes = 0;
  std::string definition;  // definition_stamp of what was proven
  std::string image;       // of the guest; empty: not known
};

// Tells what is started, and how it is looked after, from another definition of it.
[[nodiscard]] std::string definition_stamp(const config::Application& application);

// Replaces the file as a whole.
[[nodiscard]] Result<void> write_proofs(const std::filesystem::path& file, const std::vector<ProofRow>& rows);
// What can be read of it; a file that is not there is none, and a line that is damaged ends it.
[[nodiscard]] std::vector<ProofRow> read_proofs(const std::filesystem::path& file);

}  // namespace understudy::daemon

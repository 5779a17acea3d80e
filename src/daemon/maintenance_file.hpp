#pragma once

#include "base/error.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace understudy::daemon {

// Who is in maintenance until when, for the daemon that comes after this one: a crash of the daemon is no
// reason to take over from a guest that somebody is working on. By the wall clock, since the host may start
// again meanwhile.
struct MaintenanceRow {
  std::string name;  // of a guest or an application
  std::chrono::system_clock::time_point until;
};

// Replaces the file as a whole.
[[nodiscard]] Result<void> write_maintenance(const std::filesystem::path& file,
                                             const std::vector<MaintenanceRow>& rows);
// What can be read of it; a file that is not there or damaged is none.
[[nodiscard]] std::vector<MaintenanceRow> read_maintenance(const std::filesystem::path& file);

}  // namespace understudy::daemon

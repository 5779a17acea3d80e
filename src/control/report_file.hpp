#pragma once

#include "base/error.hpp"
#include "core/report.hpp"
#include "core/setup.hpp"

#include <filesystem>
#include <map>
#include <optional>

namespace understudy::control {

// The last report of each application, in a small file, so that a daemon that was started again knows them.
struct Reports {
  std::map<core::AppId, core::TakeoverReport> of;
  std::optional<core::AppId> last;
};

// Replaces the file as a whole; what was in it stays when that fails.
[[nodiscard]] Result<void> write_reports(const std::filesystem::path& file, const core::Setup& setup,
                                         const Reports& reports);
// What the file has of applications and guests that are configured; nothing, when there is no such file or it
// is none of ours.
[[nodiscard]] Reports read_reports(const std::filesystem::path& file, const core::Setup& setup);

}  // namespace understudy::control

#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

#include <filesystem>
#include <string_view>

namespace understudy::pool {

// MemAvailable of a text like /proc/meminfo.
[[nodiscard]] Result<Bytes> parse_mem_available(std::string_view meminfo);

// Whether `bytes` more can be allocated in this directory now: host memory and the filesystem's own limit, or
// free huge pages of the right size. The error says how much is missing and what to do.
[[nodiscard]] Result<void> check_room(const std::filesystem::path& directory, Bytes bytes);

}  // namespace understudy::pool

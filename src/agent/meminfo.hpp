#pragma once

#include "base/units.hpp"

#include <string>
#include <string_view>

namespace understudy::agent {

struct MemInfo {
  Bytes total_bytes = 0;      // MemTotal
  Bytes available_bytes = 0;  // MemAvailable
};

[[nodiscard]] Result<MemInfo> parse_meminfo(std::string_view text);
// Of this machine; zeroes when the file cannot be read (and then nothing is ever confirmed).
[[nodiscard]] MemInfo read_meminfo(const std::string& path = "/proc/meminfo");

// "40 MiB in files in memory, 12 MiB of page cache": what keeps memory from going; empty: nobody knows.
[[nodiscard]] std::string describe_use(std::string_view meminfo);

}  // namespace understudy::agent

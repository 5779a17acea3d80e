#pragma once

#include "base/error.hpp"
#include "core/records.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace understudy::journal {

// One line of the journal without its checksum: a JSON array of records, written together, valid together.
// docs/journal.md describes it.
[[nodiscard]] std::string encode(const std::vector<core::Record>& records);
[[nodiscard]] Result<std::vector<core::Record>> decode(std::string_view text);

}  // namespace understudy::journal

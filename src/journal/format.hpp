#pragma once

#include "base/error.hpp"
#include "core/records.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The journal's text, as docs/journal.md describes it: a header line, then a line for each append.
namespace understudy::journal {

// `setup_text` stands for the configuration that the ids in the records belong to.
[[nodiscard]] std::string header_line(const std::string& setup_text);
// The records of one append, with their checksum; they become valid together.
[[nodiscard]] std::string record_line(std::span<const core::Record> records);

struct Replayed {
  std::vector<core::Record> records;  // in the order in which they were written
  std::size_t complete_bytes = 0;     // what is behind them is a torn last line
  bool torn = false;
};
// Of a text that is not shorter than the header. Errors begin with the number of the line: "7: the checksum
// is wrong; ...".
[[nodiscard]] Result<Replayed> replay(std::string_view text, const std::string& header);

}  // namespace understudy::journal

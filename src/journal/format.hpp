#pragma once

#include "base/error.hpp"
#include "core/names.hpp"
#include "core/records.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The journal's text, as docs/journal.md describes it: a header line, then a line for each append.
namespace understudy::journal {

// Version 2: with what the numbers in the records stand for.
[[nodiscard]] std::string header_line(const core::Names& names);
// Version 1 had a checksum of the same instead; read, never written.
[[nodiscard]] std::string header_line_1(const core::Names& names);
// The records of one append, with their checksum; they become valid together.
[[nodiscard]] std::string record_line(std::span<const core::Record> records);

struct Replayed {
  std::vector<core::Record> records;  // in the order in which they were written
  std::size_t complete_bytes = 0;     // what is behind them is a torn last line
  bool torn = false;
  core::Names names;        // of the numbers in the records
  bool older_form = false;  // version 1
};
// `names`: those of the configuration, which a journal of version 1 must have been written with. Errors begin
// with the number of the line: "7: the checksum is wrong; ...".
[[nodiscard]] Result<Replayed> replay(std::string_view text, const core::Names& names);

// Whether this can be a header of which the end is missing, so that nothing can stand behind it.
[[nodiscard]] bool is_torn_header(std::string_view text);

}  // namespace understudy::journal

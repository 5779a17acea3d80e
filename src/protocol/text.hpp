#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace understudy::protocol {

// Free text of unknown origin (an application's output, a guest's sentence) made fit to be sent and shown:
// valid UTF-8, at most max_bytes (cut between characters; the front is kept), and no control characters but
// newline and tab, each bad byte or control replaced by '?'. So no text can drive a terminal or outgrow its
// line.
[[nodiscard]] std::string clean_text(std::string_view text, std::size_t max_bytes);

// The same in one line, for what stands in events and tables, where another line would pass for somebody
// else's.
[[nodiscard]] std::string clean_line(std::string_view text, std::size_t max_bytes);

// As clean_text, keeping the end: for the last lines of an output.
[[nodiscard]] std::string clean_tail(std::string_view text, std::size_t max_bytes);

}  // namespace understudy::protocol

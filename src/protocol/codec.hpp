#pragma once

#include "base/error.hpp"
#include "protocol/messages.hpp"

#include <string>
#include <string_view>

namespace understudy::protocol {

// One line, newline included. Free texts (why, cause, evidence, log) are cleaned and cut to their limits;
// anything else beyond a limit, or a line longer than the receiver takes, is an error that names message and
// field.
[[nodiscard]] Result<std::string> encode(const ToAgent& message);
[[nodiscard]] Result<std::string> encode(const FromAgent& message);

// One line, without its newline, from a sender that is not trusted. A message is well formed as a whole or
// refused: every field is there, of the right type and within its limits. Unknown fields are ignored, unknown
// types are errors. Free texts come out cleaned (text.hpp). Whether ids, numbers and order make sense is the
// caller's question.
[[nodiscard]] Result<ToAgent> decode_to_agent(std::string_view line);
[[nodiscard]] Result<FromAgent> decode_from_agent(std::string_view line);

// The word in the message's "type" field.
[[nodiscard]] std::string_view type_name(const ToAgent& message);
[[nodiscard]] std::string_view type_name(const FromAgent& message);

}  // namespace understudy::protocol

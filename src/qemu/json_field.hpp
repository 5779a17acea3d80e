// Fields of what QEMU says, and how much of that is quoted in a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace understudy::qemu {

inline constexpr std::size_t kMostQuotedBytes = 200;

// The string under this key; empty: there is none.
[[nodiscard]] std::string text_of(const boost::json::object& object, std::string_view key);
// The whole number under this key; -1: there is none.
[[nodiscard]] std::int64_t number_of(const boost::json::object& object, std::string_view key);

}  // namespace understudy::qemu

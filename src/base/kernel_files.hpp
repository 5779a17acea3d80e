#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Small files of the kernel's, whole and bounded.
namespace understudy {

inline constexpr std::size_t kMaxKernelFileBytes = 64 * 1024;

// The file's text; what is beyond the bound is left out.
[[nodiscard]] Result<std::string> read_file(const std::string& path,
                                            std::size_t max_bytes = kMaxKernelFileBytes);
// Writes the text in one write, as the kernel's files want it. The file must exist.
[[nodiscard]] Result<void> write_file(const std::string& path, std::string_view text);

[[nodiscard]] std::vector<std::string> list_directory(const std::string& path);
[[nodiscard]] bool exists(const std::string& path);

// "FILE: No such file or directory", from errno.
[[nodiscard]] std::string errno_text(const std::string& what);
[[nodiscard]] std::string errno_text(const std::string& what, int code);

// The whole text must be the number.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text, int base = 10);
[[nodiscard]] std::string_view trim(std::string_view text);
// The number behind "NAME " in the lines of text; 0: there is none.
[[nodiscard]] std::uint64_t counter(std::string_view text, std::string_view name);

}  // namespace understudy

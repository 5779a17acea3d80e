#pragma once

#include "base/error.hpp"

#include <filesystem>

namespace understudy::gateway {

// Starts `program --gateway SOCKET` as a process that outlives this one: in a session of its own, with no
// descriptor of ours, its messages appended to `log`. Returns when it said that it is ready, or why it is
// not.
[[nodiscard]] Result<void> spawn_gateway(const std::filesystem::path& program,
                                         const std::filesystem::path& socket,
                                         const std::filesystem::path& log);

}  // namespace understudy::gateway

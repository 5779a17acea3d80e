#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <cstdint>
#include <filesystem>

namespace understudy::daemon {

// Takes the run directory's lock, held while the descriptor is open; the error says that another understudyd
// has it.
[[nodiscard]] Result<UniqueFd> lock_run_dir(const std::filesystem::path& run_dir);

// Ends and removes everything of ours in a run directory that is claimed (control/claim.hpp): guests,
// gateway, areas, files by their names, the directories that we made. The caller holds the lock. Blocks until
// the processes are gone; again without harm.
[[nodiscard]] Result<void> remove_all(const std::filesystem::path& run_dir);

// Cuts back what other processes log in the run directory: the gateway, and each guest's QEMU. Waits for a
// disk.
inline constexpr std::uint64_t kMostLogBytes = 1ULL << 20;
inline constexpr std::uint64_t kKeptLogBytes = 256ULL << 10;
void cut_back_logs(const std::filesystem::path& run_dir);

}  // namespace understudy::daemon

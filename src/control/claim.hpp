#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <string>
#include <vector>

// Whose a run directory is. A free choice of directory must never cost anybody a file: Understudy works, and
// deletes, only in a directory that it has claimed, by a marker file that it makes in a new or an empty one.
// Nothing else proves anything: names can be anybody's.
//
// A directory of a version without markers is known by its journal: a file of this user that begins as only
// journals do. It is claimed by the next `up` or `down`.
namespace understudy::control {

inline constexpr const char* kClaimFile = "understudy-run-dir";

// Claims the directory, made here (mode 0700) if there is none. True: by this call; false: it was claimed
// already. The mode of a directory that was there stays as it is; one that others could write to, that has an
// owner other than this user, or that holds anything without being claimed, is refused and left as it is.
[[nodiscard]] Result<bool> claim(const std::filesystem::path& dir);

// Whether it is claimed. Changes nothing; the error says, for a person, what is there instead.
[[nodiscard]] Result<void> check_claimed(const std::filesystem::path& dir);

// Takes the marker away and, as far as they are empty, the directories that claim() made. An error names what
// is left in it; it then stays claimed.
[[nodiscard]] Result<void> unclaim(const std::filesystem::path& dir);

// Run directories of ours besides this one that can be found: the usual one, and those of running daemons and
// gateways of this user.
[[nodiscard]] std::vector<std::filesystem::path> other_run_dirs(const std::filesystem::path& than);
// " Understudy is in /run/understudy: `understudy --run-dir /run/understudy down`" or nothing.
[[nodiscard]] std::string where_it_is(const std::filesystem::path& not_here);
// Sentences about this user's daemons and gateways that were started for `dir`, live, and have their files
// somewhere else: it was moved away or exchanged under them. Empty: there are none.
[[nodiscard]] std::string who_serves_elsewhere(const std::filesystem::path& dir);

}  // namespace understudy::control

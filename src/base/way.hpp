#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <filesystem>

// What stands in a place that others can write to is ours only with proof. A name proves nothing: whoever may
// write to a directory puts there what he likes, under any name, as a link to anything, and exchanges it
// after it was looked at. So the whole way to a directory is walked, from the root, by descriptors.
//
// On the way to a directory, each one has to belong to root or to this user, and nobody else may be able to
// write to it, unless its sticky bit keeps what is in it to its owners (/tmp). A link counts only as root's
// or this user's. A group may write where it is root's, or has the number of the directory's owner (his own
// group, by custom). Where this user namespace does not have all users, those outside cannot be told apart,
// and are taken for root.
namespace understudy {

// The directory, open for openat() (O_PATH), if it is this user's own and so is the way to it. The error
// names the place, whose it is, and what to do; an absent directory is an error as well.
[[nodiscard]] Result<UniqueFd> open_ours(const std::filesystem::path& directory);

// Whether something of ours, made in this directory, stays what it is: it may be root's, and sticky.
[[nodiscard]] Result<void> check_way_to(const std::filesystem::path& directory);

}  // namespace understudy

#pragma once

#include "base/error.hpp"
#include "config/config.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

// Where the areas' files are. The place follows from the configuration and the run directory alone, so that a
// later daemon, or `down` after a crash, finds what an earlier one made.
namespace understudy::pool {

struct Place {
  enum class Kind {
    private_tmpfs,  // a tmpfs of our own, mounted on `path`
    subdirectory,   // a 0700 directory `path` on a filesystem that somebody else mounted
  };
  Kind kind = Kind::subdirectory;
  std::filesystem::path path;
};

// The places to try, best first. `as_root`: whether a tmpfs could be mounted at all.
[[nodiscard]] std::vector<Place> places(const config::Pool& config, const std::filesystem::path& run_dir,
                                        bool as_root);

// Makes the place for `file_count` files of `bytes` in all. Returns what it is, for a person: "private tmpfs
// on /run/understudy/areas (huge=within_size,noswap)". An error leaves nothing behind.
[[nodiscard]] Result<std::string> make_place(const Place& place, config::Backing backing, Bytes bytes,
                                             std::uint32_t file_count);

// Whether it is there and can be trusted: a directory (not a link) of our own that nobody else may read or
// write. Not there is false; there but not to be trusted is an error.
[[nodiscard]] Result<bool> place_exists(const Place& place);

// Names of the areas' files in it, sorted. Anything else in the place is an error, because it is not ours.
[[nodiscard]] Result<std::vector<std::string>> area_files(const Place& place);

// Removes the areas' files and the place itself. Nothing to remove is a success. Memory that a process still
// maps stays until that process ends.
[[nodiscard]] Result<void> remove_place(const Place& place);

// "area-0007".
[[nodiscard]] std::string area_file_name(core::AreaId area);
[[nodiscard]] bool is_area_file_name(std::string_view name);

// Size of the pages that files of this place are made of: 4 KiB, or the huge page size of a hugetlbfs.
[[nodiscard]] Result<Bytes> page_bytes(const std::filesystem::path& path);

}  // namespace understudy::pool

#pragma once

#include "base/error.hpp"
#include "config/config.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

// Where the areas' files are. In a place that others can write to, such as /dev/shm, the directory's name is
// drawn by chance when the pool is made, so that nobody can have made it before; it is remembered in the run
// directory, where a later daemon, or `down` after a crash, finds it. What stands under such a name without
// being this user's is not ours, whoever put it there, and is left alone.
namespace understudy::pool {

// The file `pool` of the run directory, a line each.
struct Remembered {
  config::Pool pool;  // its backing, the directory that the configuration named, the areas' size (0: unknown)
  std::string name;   // of the directory in a shared place; empty: a version that computed it
};
inline constexpr const char* kPoolFile = "pool";
// Nothing: no pool was made here.
[[nodiscard]] std::optional<Remembered> remembered(const std::filesystem::path& run_dir);
[[nodiscard]] Result<void> remember(const std::filesystem::path& run_dir, const Remembered& what);
// "understudy-0123456789abcdef0123456789abcdef", by chance.
[[nodiscard]] Result<std::string> draw_name();

struct Place {
  enum class Kind {
    private_tmpfs,  // a tmpfs of our own, mounted on `path`
    subdirectory,   // a 0700 directory `path` on a filesystem that somebody else mounted
  };
  Kind kind = Kind::subdirectory;
  std::filesystem::path path;
};

// The places to try, best first. `as_root`: whether a tmpfs could be mounted at all.
[[nodiscard]] std::vector<Place> places(const Remembered& what, const std::filesystem::path& run_dir,
                                        bool as_root);

// Makes the place for `file_count` files of `bytes` in all. Returns what it is, for a person: "private tmpfs
// on /run/understudy/areas (huge=within_size,noswap)". An error leaves nothing behind.
[[nodiscard]] Result<std::string> make_place(const Place& place, config::Backing backing, Bytes bytes,
                                             std::uint32_t file_count);

// Whether it is there and ours: a directory (not a link) of this user, which nobody else may read or write,
// in one where nobody else can exchange it.
[[nodiscard]] bool place_exists(const Place& place);
// What stands there instead, for a person: ""; "; DIRECTORY is there, but ...".
[[nodiscard]] std::string what_is_there(const Place& place);

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

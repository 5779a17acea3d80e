#include "pool/pool_directory.hpp"

#include "base/fnv1a.hpp"
#include "base/unique_fd.hpp"
#include "base/way.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

namespace understudy::pool {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kAreaPrefix = "area-";
constexpr const char* kMountSource = "understudy-areas";
constexpr std::string_view kMountText = "tmpfs understudy-areas ";  // as mountinfo has it
constexpr const char* kSharedMemory = "/dev/shm";
// A mount can be hidden below another one of ours when a daemon died between two steps; more than this many
// on one place is not our doing.
constexpr int kMostStackedMounts = 16;

std::string errno_text(int code) {
  return std::strerror(code);
}

constexpr const char* kTmpfs = "tmpfs";
constexpr const char* kHugetlbfs = "hugetlbfs";

// "understudy-RUNDIRNAME-0123456789abcdef", as versions made it that did not draw it.
std::string computed_name(const fs::path& run_dir) {
  const fs::path whole = fs::weakly_canonical(run_dir);
  char hash[17];
  std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(fnv1a(whole.native())));
  return "understudy-" + whole.filename().string().substr(0, 64) + "-" + hash;
}

// As mountinfo writes a path: a blank, a tab, a newline and a backslash by their octal numbers.
std::string escaped(const fs::path& path) {
  std::string text;
  for (const char c : path.native()) {
    char number[8];
    std::snprintf(number, sizeof number, "\\%03o", static_cast<unsigned>(static_cast<unsigned char>(c)));
    text += c == ' ' || c == '\t' || c == '\n' || c == '\\' ? std::string(number) : std::string(1, c);
  }
  return text;
}

bool is_mount_point(const fs::path& path) {
  struct stat inside {};
  struct stat outside {};
  return ::lstat(path.c_str(), &inside) == 0 && ::lstat(path.parent_path().c_str(), &outside) == 0 &&
         inside.st_dev != outside.st_dev;
}

// What /proc/self/mountinfo says of the last mount on the path: "... - TYPE SOURCE OPTIONS".
bool is_our_mount(const fs::path& path) {
  std::ifstream mounts("/proc/self/mountinfo");
  bool ours = false;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, point;
    words >> id >> parent >> device >> root >> point;
    const auto dash = line.find(" - ");
    if (point != escaped(path) || dash == std::string::npos) continue;
    ours = line.compare(dash + 3, kMountText.size(), kMountText) == 0;
  }
  return ours;
}

Result<void> unmount_all(const fs::path& path) {
  for (int i = 0; i < kMostStackedMounts && is_mount_point(path); ++i) {
    if (!is_our_mount(path))
      return failure(
          "what is mounted on " + path.string() +
          " is not the tmpfs of our areas; unmount it if nothing needs it, or use another --run-dir");
    if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) continue;
    // Somebody still maps an area or stands in the directory. Its name goes now, its memory with its last
    // user.
    if (errno == EBUSY && ::umount2(path.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) == 0) continue;
    return failure("cannot unmount the pool's tmpfs on " + path.string() + ": " + errno_text(errno) +
                   "; unmount it as root with `umount " + path.string() + "`");
  }
  if (is_mount_point(path))
    return failure("more than " + std::to_string(kMostStackedMounts) + " filesystems are mounted on " +
                   path.string() + "; unmount them by hand");
  return {};
}

Result<std::string> mount_private(const Place& place, Bytes bytes, std::uint32_t file_count) {
  // Root's inode takes one of them; the rest is room for nothing else.
  const std::string size =
      "size=" + std::to_string(bytes) + ",mode=0700,nr_inodes=" + std::to_string(file_count + 8);
  // Huge pages make mapping and tearing down an area ten times faster; noswap keeps the pool from going to
  // disk. Older kernels know neither, so the best that this one takes is found by trying.
  for (const char* extra : {",huge=within_size,noswap", ",huge=within_size", ",noswap", ""}) {
    if (::mount(kMountSource, place.path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                (size + extra).c_str()) == 0)
      return "private tmpfs on " + place.path.string() + " (" + (*extra ? extra + 1 : "no huge pages") + ")";
    if (errno != EINVAL) break;
  }
  return failure("cannot mount a tmpfs on " + place.path.string() + ": " + errno_text(errno));
}

Result<void> check_filesystem(const fs::path& path, config::Backing backing) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0)
    return failure("[pool] directory " + path.string() + ": " + errno_text(errno));
  const bool huge = backing == config::Backing::hugetlbfs;
  if (static_cast<unsigned long>(info.f_type) == (huge ? HUGETLBFS_MAGIC : TMPFS_MAGIC)) return {};
  return failure("[pool] directory " + path.string() + " is not on a " + (huge ? "hugetlbfs" : "tmpfs") +
                 (huge ? "; mount one there: mount -t hugetlbfs none " + path.string()
                       : std::string("; areas must be memory, not files on a disk: leave `directory` out, or "
                                     "name a directory on a tmpfs")));
}

}  // namespace

std::string area_file_name(core::AreaId area) {
  char name[32];
  std::snprintf(name, sizeof name, "area-%04u", area.value);
  return name;
}

bool is_area_file_name(std::string_view name) {
  if (!name.starts_with(kAreaPrefix)) return false;
  name.remove_prefix(kAreaPrefix.size());
  return name.size() >= 4 && name.size() <= 10 &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<Remembered> remembered(const fs::path& run_dir) {
  Remembered what;
  std::ifstream file(run_dir / kPoolFile);
  std::string backing;
  std::string directory;
  if (!std::getline(file, backing)) return std::nullopt;
  std::getline(file, directory);
  std::getline(file, what.name);
  what.pool.area_bytes = 0;
  file >> what.pool.area_bytes;
  if (backing == kHugetlbfs) what.pool.backing = config::Backing::hugetlbfs;
  what.pool.directory = directory;
  return what;
}

Result<void> remember(const fs::path& run_dir, const Remembered& what) {
  std::ofstream file(run_dir / kPoolFile);
  file << (what.pool.backing == config::Backing::hugetlbfs ? kHugetlbfs : kTmpfs) << '\n'
       << what.pool.directory.string() << '\n'
       << what.name << '\n'
       << what.pool.area_bytes << '\n';
  file.flush();
  if (!file) return failure("cannot write " + (run_dir / kPoolFile).string());
  return {};
}

Result<std::string> draw_name() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes))
    return failure(std::string("no random numbers: ") + std::strerror(errno));
  std::string name = "understudy-";
  for (const unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    name += digits;
  }
  return name;
}

std::vector<Place> places(const Remembered& what, const fs::path& run_dir, bool as_root) {
  const std::string name = what.name.empty() ? computed_name(run_dir) : what.name;
  if (!what.pool.directory.empty()) return {{Place::Kind::subdirectory, what.pool.directory / name}};
  std::vector<Place> all;
  if (as_root) all.push_back({Place::Kind::private_tmpfs, fs::weakly_canonical(run_dir) / "areas"});
  all.push_back({Place::Kind::subdirectory, fs::path(kSharedMemory) / name});
  return all;
}

Result<std::string> make_place(const Place& place, config::Backing backing, Bytes bytes,
                               std::uint32_t file_count) {
  if (place.kind == Place::Kind::subdirectory) {
    if (auto ok = check_filesystem(place.path.parent_path(), backing); !ok)
      return failure(ok.error().message);
  }
  if (auto safe = check_way_to(place.path.parent_path()); !safe)
    return failure("[pool] directory " + place.path.parent_path().string() + ": " + safe.error().message);
  // Of our own below the run directory it may be left over; in a shared place nobody can know its name.
  const bool made = ::mkdir(place.path.c_str(), 0700) == 0;
  if (!made && (errno != EEXIST || place.kind == Place::Kind::subdirectory))
    return failure("cannot make the pool's directory " + place.path.string() + ": " + errno_text(errno));
  if (!place_exists(place))
    return failure("cannot use the pool's directory" + what_is_there(place) +
                   "; remove it, or use another --run-dir");
  if (place.kind == Place::Kind::subdirectory)
    return std::string(backing == config::Backing::hugetlbfs ? "hugetlbfs" : "shared tmpfs") +
           ", directory " + place.path.string();
  if (auto ok = unmount_all(place.path); !ok) return failure(ok.error().message);
  auto mounted = mount_private(place, bytes, file_count);
  if (!mounted) ::rmdir(place.path.c_str());
  return mounted;
}

bool place_exists(const Place& place) {
  return what_is_there(place).empty() && fs::exists(fs::symlink_status(place.path));
}

std::string what_is_there(const Place& place) {
  struct stat info {};
  if (::lstat(place.path.c_str(), &info) != 0) return "";
  // Guests' QEMUs with users of their own may pass through it, but not read or change it.
  constexpr mode_t kOthersLookOrWrite = 066;
  if (!S_ISDIR(info.st_mode)) return "; " + place.path.string() + " is there, but it is no directory";
  if (info.st_uid != ::geteuid())
    return "; " + place.path.string() + " is there, but it belongs to uid " + std::to_string(info.st_uid);
  if ((info.st_mode & kOthersLookOrWrite) != 0)
    return "; " + place.path.string() + " is there, but others may look into it";
  if (auto ours = open_ours(place.path); !ours) return "; " + ours.error().message;
  return "";
}

Result<std::vector<std::string>> area_files(const Place& place) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(place.path.c_str()), ::closedir);
  if (!dir) {
    if (errno == ENOENT) return std::vector<std::string>{};
    return failure("cannot read the pool's directory " + place.path.string() + ": " + errno_text(errno));
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (!is_area_file_name(name))
      return failure("the pool's directory " + place.path.string() + " holds \"" + std::string(name) +
                     "\", which is no area; remove it by hand if nothing needs it");
    names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> remove_place(const Place& place) {
  if (!place_exists(place)) return {};  // or not ours
  auto names = area_files(place);
  if (!names) return failure(names.error().message);
  for (const std::string& name : *names) {
    if (::unlink((place.path / name).c_str()) != 0 && errno != ENOENT)
      return failure("cannot remove the area " + (place.path / name).string() + ": " + errno_text(errno));
  }
  if (place.kind == Place::Kind::private_tmpfs) {
    if (auto ok = unmount_all(place.path); !ok) return ok;
  }
  if (::rmdir(place.path.c_str()) != 0 && errno != ENOENT)
    return failure("cannot remove the pool's directory " + place.path.string() + ": " + errno_text(errno));
  return {};
}

Result<Bytes> page_bytes(const fs::path& path) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0) return failure(path.string() + ": " + errno_text(errno));
  return static_cast<Bytes>(info.f_bsize);
}

}  // namespace understudy::pool

#include "agent/own_files.hpp"

#include "base/kernel_files.hpp"
#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace understudy::agent {

namespace {

constexpr int kNamespacesOfApplication = CLONE_NEWNS | CLONE_NEWIPC;
constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV;
constexpr mode_t kAnybodys = 01777;
constexpr mode_t kUsers = 0755;
constexpr const char* kCgroups = "/sys/fs/cgroup";
constexpr const char* kSharedMemory = "/dev/shm";

struct Place {
  std::string where;
  mode_t mode = kAnybodys;
};

bool directory(const std::string& path) {
  struct stat what {};
  return ::stat(path.c_str(), &what) == 0 && S_ISDIR(what.st_mode);
}

bool below(const std::string& path, const std::string& parent) {
  return path == parent || path.starts_with(parent + "/");
}

// Directories that share one file system; a later one may lie below an earlier one.
std::vector<Place> places(const OwnFiles& files, const User& user) {
  std::vector<Place> out;
  if (files.whole_image) out = {{"/tmp"}, {"/var", kUsers}, {"/run", kUsers}};
  if (!files.whole_image) out = {{"/tmp"}, {"/var/tmp"}};
  const bool covered = user.home == "/" || std::any_of(out.begin(), out.end(), [&](const Place& place) {
                         return below(user.home, place.where);
                       });
  if (files.whole_image && !covered) out.push_back({user.home, kUsers});
  std::erase_if(out, [](const Place& place) { return !directory(place.where); });
  return out;
}

std::string options(const OwnFiles& files) {
  std::string text = "mode=0755";
  if (files.size_bytes != 0) text += ",size=" + std::to_string(files.size_bytes);
  if (files.files != 0) text += ",nr_inodes=" + std::to_string(files.files);
  return text;
}

bool make_directory(const std::string& path, mode_t mode, const User* owner) {
  if (::mkdir(path.c_str(), mode) != 0 || ::chmod(path.c_str(), mode) != 0) return false;
  return owner == nullptr || ::chown(path.c_str(), owner->uid, owner->gid) == 0;
}

// And those above it, below a directory that is there.
bool make_path(const std::string& path, std::size_t from) {
  for (std::size_t end = path.find('/', from); end != std::string::npos; end = path.find('/', end + 1)) {
    if (::mkdir(path.substr(0, end).c_str(), kUsers) != 0 && errno != EEXIST) return false;
  }
  return ::mkdir(path.c_str(), kUsers) == 0 || errno == EEXIST;
}

bool bind_to(const std::string& from, const std::string& to, unsigned long more = 0) {
  return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | more, nullptr) == 0;
}

// A part of the file system at `from` comes to be at the place.
bool put(const std::string& from, const OwnFiles& files, const Place& place, const User& user, int number) {
  const std::string part = from + "/" + std::to_string(number);
  if (!make_directory(part, place.mode, place.mode == kUsers ? &user : nullptr)) return false;
  if (place.where == "/var" && !make_directory(part + "/tmp", kAnybodys, nullptr)) return false;
  if (below(files.run_directory, place.where)) {
    const std::string inside = part + files.run_directory.substr(place.where.size());
    if (!make_path(inside, part.size() + 1) || !bind_to(files.own_run_directory, inside)) return false;
  }
  return bind_to(part, place.where, MS_REC);
}

// What is mounted there and not what is mounted below it.
bool set_read_only(const std::string& path, bool read_only) {
  mount_attr change{};
  (read_only ? change.attr_set : change.attr_clr) = MOUNT_ATTR_RDONLY;
  return ::syscall(SYS_mount_setattr, AT_FDCWD, path.c_str(), 0U, &change, sizeof change) == 0;
}

}  // namespace

std::uint64_t most_files(Bytes size_bytes, Bytes base_bytes) {
  return std::min(size_bytes / kBytesPerFile, base_bytes / kBaseBytesPerFile);
}

std::string make_own_files(const OwnFiles& files, const User& user) {
  if (::unshare(kNamespacesOfApplication) != 0) return "file systems of its own";
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "making mounts private";
  if (::mount("tmpfs", files.staging.c_str(), "tmpfs", kFlags, options(files).c_str()) != 0)
    return "a file system of its own";
  // By its descriptor: the places cover the way to it.
  const UniqueFd made(::open(files.staging.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!made) return "a file system of its own";
  const std::string from = "/proc/self/fd/" + std::to_string(made.get());
  int number = 0;
  bool has_run_directory = false;
  for (const Place& place : places(files, user)) {
    if (!put(from, files, place, user, number++)) return place.where + " of its own";
    has_run_directory = has_run_directory || below(files.run_directory, place.where);
  }
  // Where it was made it is not to be seen; what is used of it stays.
  if (::umount2(from.c_str(), MNT_DETACH) != 0) return "a file system of its own";
  if (!has_run_directory && !bind_to(files.own_run_directory, files.run_directory))
    return files.run_directory + " of its own";
  if (directory(kSharedMemory)) {
    const std::string anybodys = options(files) + ",mode=1777";
    if (::mount("tmpfs", kSharedMemory, "tmpfs", kFlags, anybodys.c_str()) != 0) return "/dev/shm of its own";
  }
  if (files.whole_image && !set_read_only("/", true)) return "making the image read-only";
  return "";
}

std::string keep_own_files_writable(const OwnFiles& files, const User& user) {
  for (const Place& place : places(files, user)) {
    if (!set_read_only(place.where, false)) return place.where + " of its own";
  }
  if (directory(kSharedMemory) && !set_read_only(kSharedMemory, false)) return "/dev/shm of its own";
  return "";
}

void resize_own_files(const OwnFiles& files) {
  const std::string size = options(files);
  for (const char* const where : {"/tmp", kSharedMemory})
    (void)::mount(nullptr, where, nullptr, MS_REMOUNT | kFlags, size.c_str());
}

void see_own_cgroups() {
  if (!directory(kCgroups) || ::unshare(CLONE_NEWCGROUP) != 0) return;
  (void)::umount2(kCgroups, MNT_DETACH);  // of a former life
  (void)::mount("cgroup2", kCgroups, "cgroup2", kFlags | MS_NOEXEC, "");
}

}  // namespace understudy::agent

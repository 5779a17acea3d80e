#include "base/way.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <string>

#include <climits>
#include <system_error>

namespace understudy {

namespace fs = std::filesystem;

namespace {

constexpr int kMostLinks = 40;  // as many as the kernel follows
constexpr std::uint64_t kEveryUser = 0xFFFFFFFF;

// The number that stands for all users that this namespace does not have; none when it has all.
uid_t outsider() {
  std::ifstream map("/proc/self/uid_map");
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  if (!(map >> inside >> outside >> count) || count == kEveryUser) return 0;
  std::ifstream number("/proc/sys/kernel/overflowuid");
  uid_t uid = 0;
  number >> uid;
  return uid;
}

bool is_trusted(uid_t uid) {
  static const uid_t outside = outsider();
  return uid == 0 || uid == ::geteuid() || uid == outside;
}

bool others_can_write(const struct stat& info) {
  if ((info.st_mode & S_IWOTH) != 0) return true;
  const bool own_group = info.st_gid == 0 || info.st_gid == info.st_uid;
  return (info.st_mode & S_IWGRP) != 0 && !own_group;
}

std::string described(const struct stat& info) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", info.st_mode & 07777U);
  return "it belongs to uid " + std::to_string(info.st_uid) + ", mode " + mode;
}

class Walk {
 public:
  explicit Walk(const fs::path& to) : to_(fs::absolute(to)) { push_front(to_); }

  // The last directory, and what it is.
  Result<UniqueFd> go(struct stat& last) {
    if (auto begun = begin(); !begun) return tl::unexpected(begun.error());
    while (!ahead_.empty()) {
      const std::string name = ahead_.front();
      ahead_.pop_front();
      if (name.empty() || name == "." || name == "/") continue;
      // Whoever can exchange this one leads us anywhere.
      if (auto safe = check(); !safe) return tl::unexpected(safe.error());
      if (auto stepped = step(name); !stepped) return tl::unexpected(stepped.error());
    }
    last = info_;
    return std::move(at_);
  }

  [[nodiscard]] Result<void> check() const {
    const bool sticky = (info_.st_mode & S_ISVTX) != 0;
    if (is_trusted(info_.st_uid) && (!others_can_write(info_) || sticky)) return {};
    return failure("somebody else could exchange what is in " + here_.string() + " (" + described(info_) +
                   "), on the way to " + to_.string() +
                   "; choose a directory whose way belongs to root and this user alone");
  }

 private:
  void push_front(const fs::path& path) { ahead_.insert(ahead_.begin(), path.begin(), path.end()); }

  Result<void> begin() {
    here_ = "/";
    at_ = UniqueFd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (at_ && ::fstat(at_.get(), &info_) == 0) return {};
    return failure(std::string("/: ") + std::strerror(errno));
  }

  Result<void> step(const std::string& name) {
    UniqueFd next(::openat(at_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!next || ::fstat(next.get(), &info) != 0)
      return failure((here_ / name).string() + ": " + std::strerror(errno));
    if (S_ISLNK(info.st_mode)) return follow(name, next, info);
    here_ = name == ".." ? here_.parent_path() : here_ / name;
    if (!S_ISDIR(info.st_mode)) return failure(here_.string() + " is no directory");
    at_ = std::move(next);
    info_ = info;
    return {};
  }

  Result<void> follow(const std::string& name, const UniqueFd& link, const struct stat& info) {
    const std::string text = (here_ / name).string();
    if (!is_trusted(info.st_uid))
      return failure(text + " is a link of somebody else (uid " + std::to_string(info.st_uid) + ")");
    if (++links_ > kMostLinks) return failure(text + ": too many links");
    std::string target(PATH_MAX, '\0');
    const ssize_t length = ::readlinkat(link.get(), "", target.data(), target.size());
    if (length <= 0) return failure(text + ": " + std::strerror(errno));
    target.resize(static_cast<std::size_t>(length));
    push_front(target);
    if (fs::path(target).is_absolute()) return begin();
    return {};
  }

  fs::path to_;
  std::deque<std::string> ahead_;
  fs::path here_;
  UniqueFd at_;
  struct stat info_ {};
  int links_ = 0;
};

}  // namespace

Result<UniqueFd> open_ours(const fs::path& directory) {
  struct stat info {};
  auto opened = Walk(directory).go(info);
  if (!opened) return opened;
  if (info.st_uid == ::geteuid() && !others_can_write(info)) return opened;
  return failure(directory.string() + " is not this user's alone (" + described(info) + ")");
}

Result<void> check_way_to(const fs::path& directory) {
  struct stat info {};
  Walk walk(directory);
  if (auto opened = walk.go(info); !opened) return tl::unexpected(opened.error());
  return walk.check();
}

}  // namespace understudy

#include "pool/area_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace understudy::pool {

namespace {

constexpr Bytes kStatBlock = 512;  // what st_blocks counts, whatever the filesystem's block is
// Allocated at once: the kernel lets nobody at the file meanwhile, and the loop may want to give it to
// somebody. Huge pages are rounded to by themselves.
constexpr Bytes kPart = 2_MiB;
constexpr mode_t kOurs = 0600;
constexpr mode_t kWithItsGroup = 0660;
constexpr std::size_t kMostAttributeBytes = 64_KiB;  // more than the kernel lists at once

Result<void> change(int fd, int how, Bytes from, Bytes bytes) {
  while (::fallocate(fd, how, static_cast<off_t>(from), static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return failure(std::strerror(errno));
  }
  return {};
}

Result<void> punch(int fd, Bytes bytes) {
  return change(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, bytes);
}

// Overwrites with zeroes where the pages are, so that a reserved area never gives its memory back, not even
// for the moment in which somebody else could take it.
Result<void> overwrite(int fd, Bytes bytes) {
  const std::vector<char> zeroes(1_MiB);
  for (Bytes done = 0; done < bytes;) {
    const auto part = std::min<Bytes>(zeroes.size(), bytes - done);
    const ssize_t written = ::pwrite(fd, zeroes.data(), part, static_cast<off_t>(done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return failure(std::strerror(errno));
    done += static_cast<Bytes>(written);
  }
  return {};
}

bool on_hugetlbfs(int fd) {
  struct statfs info {};
  return ::fstatfs(fd, &info) == 0 && static_cast<unsigned long>(info.f_type) == HUGETLBFS_MAGIC;
}

// What users of a file can set: an ACL, which lets others in whatever the mode says, and words for who comes
// next. What a security module has set (security.selinux) is the host's.
bool is_of_a_user(std::string_view attribute) {
  return attribute.starts_with("system.posix_acl_") || attribute.starts_with("user.");
}

// Whether there were any.
bool remove_attributes(int fd) {
  std::string names(kMostAttributeBytes, '\0');
  const ssize_t length = ::flistxattr(fd, names.data(), names.size());
  names.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  bool had_some = false;
  for (std::size_t at = 0; at < names.size(); at += std::strlen(&names[at]) + 1) {
    if (is_of_a_user(&names[at])) had_some = ::fremovexattr(fd, &names[at]) == 0 || had_some;
  }
  return had_some;
}

std::string wrong_size(off_t found, Bytes expected) {
  return "its size was " + std::to_string(found) + " bytes, not " + std::to_string(expected);
}

}  // namespace

Result<void> AreaFile::allocate() const {
  for (Bytes done = 0; done < bytes_; done += kPart) {
    if (auto part = change(fd_.get(), 0, done, std::min(kPart, bytes_ - done)); !part) return part;
  }
  return {};
}

Result<void> AreaFile::zero() const {
  if (!reserve_) return punch(fd_.get(), bytes_);
  if (!on_hugetlbfs(fd_.get())) return overwrite(fd_.get(), bytes_);
  // Has no write(); its pages come from a stock of their own.
  if (auto punched = punch(fd_.get(), bytes_); !punched) return punched;
  return allocate();
}

Bytes AreaFile::allocated_bytes() const {
  struct stat info {};
  return ::fstat(fd_.get(), &info) == 0 ? static_cast<Bytes>(info.st_blocks) * kStatBlock : 0;
}

std::optional<gid_t> AreaFile::holder() const {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) return std::nullopt;
  if (info.st_uid != ::geteuid()) return info.st_uid;
  return info.st_gid != ::getegid() ? std::optional(info.st_gid) : std::nullopt;
}

Result<void> AreaFile::open_to(gid_t group) const {
  if (::fchown(fd_.get(), ::geteuid(), group) == 0 && ::fchmod(fd_.get(), kWithItsGroup) == 0) return {};
  return failure(std::strerror(errno));
}

AreaFile::Repair AreaFile::close_to_others() const {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0 || ::fchown(fd_.get(), ::geteuid(), ::getegid()) != 0 ||
      ::fchmod(fd_.get(), kOurs) != 0)
    return {{}, failure(std::string("it stays open to others: ") + std::strerror(errno))};
  Repair repair;
  if (remove_attributes(fd_.get())) repair.found.emplace_back("it had extended attributes or an ACL");
  const mode_t mode = info.st_mode & 07777U;
  if (mode != kOurs && mode != kWithItsGroup) repair.found.emplace_back("its mode had been changed");
  return repair;
}

AreaFile::Repair AreaFile::lengthen() const {
  const auto size = static_cast<off_t>(bytes_);
  struct stat info {};
  if (::fstat(fd_.get(), &info) == 0 && info.st_size >= size) return {};
  if (::ftruncate(fd_.get(), size) != 0)
    return {{}, failure(std::string("it cannot be given its size: ") + std::strerror(errno))};
  return {{wrong_size(info.st_size, bytes_)}, {}};
}

AreaFile::Repair AreaFile::put_right() const {
  const auto size = static_cast<off_t>(bytes_);
  struct stat before {};
  struct stat after {};
  // Also takes away what was allocated behind its end.
  if (::fstat(fd_.get(), &before) != 0 || ::ftruncate(fd_.get(), size) != 0 ||
      ::fstat(fd_.get(), &after) != 0)
    return {{}, failure(std::string("it cannot be given its size: ") + std::strerror(errno))};
  Repair repair;
  if (before.st_size != size) {
    repair.found.push_back(wrong_size(before.st_size, bytes_));
  } else if (after.st_blocks < before.st_blocks) {
    repair.found.emplace_back("it had memory behind its end");
  }
  if (!reserve_ || static_cast<Bytes>(after.st_blocks) * kStatBlock >= bytes_) return repair;
  repair.found.emplace_back("part of its memory had been given back to the host");
  if (auto allocated = allocate(); !allocated)
    repair.done = failure("that memory cannot be had again: " + allocated.error().message);
  return repair;
}

std::string repair_text(const AreaFile::Repair& repair) {
  std::string text;
  for (const std::string& each : repair.found) text += each + "; ";
  return text + (repair.done ? std::string("put right") : repair.done.error().message);
}

void AreaFile::cut() const {
  (void)!::ftruncate(fd_.get(), static_cast<off_t>(bytes_));
}

}  // namespace understudy::pool

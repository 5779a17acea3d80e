#include "base/bounded_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <utility>

namespace understudy {

namespace fs = std::filesystem;

namespace {

constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

void add_lines(const fs::path& file, std::vector<std::string>& lines) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line) && !in.eof();) lines.push_back(std::move(line));
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

}  // namespace

BoundedFile::BoundedFile(fs::path file, std::uint64_t most_bytes, Choice choice)
    : file_(std::move(file)), most_bytes_(most_bytes), choice_(std::move(choice)) {
  (void)open();  // tried again with the first line
}

fs::path BoundedFile::old_of(const fs::path& file) {
  return file.string() + ".old";
}

fs::path BoundedFile::fresh_old_of(const fs::path& file) {
  return old_of(file).string() + ".new";
}

bool BoundedFile::open() {
  fd_ = UniqueFd(::open(file_.c_str(), kFlags, 0600));
  struct stat info {};
  if (!fd_ || ::fstat(fd_.get(), &info) != 0) return false;
  size_bytes_ = static_cast<std::uint64_t>(info.st_size);
  torn_ = size_bytes_ != 0;  // a former writer may have died in the middle of a line
  return true;
}

// False: nothing has changed.
bool BoundedFile::keep_chosen() {
  std::string text;
  for (const std::string& line :
       choice_(last_lines(file_, std::numeric_limits<std::size_t>::max()), most_bytes_))
    text += line + "\n";
  const fs::path fresh = fresh_old_of(file_);
  ::unlink(fresh.c_str());
  if (!leaves_room(text.size())) return false;
  const UniqueFd made(::open(fresh.c_str(), kFlags | O_EXCL, 0600));
  if (made && write_all(made.get(), text) && ::rename(fresh.c_str(), old_of(file_).c_str()) == 0) return true;
  ::unlink(fresh.c_str());
  return false;
}

bool BoundedFile::begin_anew() {
  if (choice_ && keep_chosen()) return ::unlink(file_.c_str()) == 0 && open();
  if (::rename(file_.c_str(), old_of(file_).c_str()) != 0 && errno != ENOENT) return false;
  return open();
}

bool BoundedFile::leaves_room(std::size_t bytes) const {
  struct statvfs disk {};
  if (::fstatvfs(fd_.get(), &disk) != 0) return true;
  const std::uint64_t whole = static_cast<std::uint64_t>(disk.f_blocks) * disk.f_frsize;
  if (whole == 0) return true;  // a tmpfs without a limit
  const std::uint64_t left = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  return left >= bytes + std::min(kLeftFreeBytes, whole / kLeftFreeShare);
}

std::string BoundedFile::write(std::string_view line) {
  if (!fd_ && !open()) return std::strerror(errno);
  if (size_bytes_ != 0 && size_bytes_ + line.size() > most_bytes_ && !begin_anew())
    return std::strerror(errno);
  const std::string text = (torn_ ? "\n" : "") + std::string(line) + "\n";
  if (!leaves_room(text.size())) return "the disk is as good as full, and its last room is left to others";
  const ssize_t put = ::write(fd_.get(), text.data(), text.size());
  if (put > 0) {
    size_bytes_ += static_cast<std::uint64_t>(put);
    torn_ = text[static_cast<std::size_t>(put) - 1] != '\n';
  }
  if (put == static_cast<ssize_t>(text.size())) return "";
  return put < 0 ? std::strerror(errno) : "no room for a whole line";
}

std::vector<std::string> last_lines(const fs::path& file, std::size_t most) {
  std::vector<std::string> lines;
  add_lines(BoundedFile::old_of(file), lines);
  add_lines(file, lines);
  std::erase(lines, "");
  if (lines.size() > most) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(most));
  return lines;
}

bool cut_back(const fs::path& file, std::uint64_t most_bytes, std::uint64_t kept_bytes) {
  const UniqueFd log(::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (!log || ::fstat(log.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != ::geteuid())
    return false;
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size <= most_bytes) return false;
  std::string tail(static_cast<std::size_t>(std::min(kept_bytes, size)), '\0');
  const ssize_t got = ::pread(log.get(), tail.data(), tail.size(), static_cast<off_t>(size - tail.size()));
  tail.resize(static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  // Emptied first: where there is no room, there has to be some for the tail.
  if (::ftruncate(log.get(), 0) != 0) return false;
  const fs::path old = BoundedFile::old_of(file);
  ::unlink(old.c_str());
  const UniqueFd kept(::open(old.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (kept) (void)write_all(kept.get(), tail);
  return true;
}

}  // namespace understudy

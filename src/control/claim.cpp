#include "control/claim.hpp"

#include "base/shown.hpp"
#include "base/unique_fd.hpp"
#include "base/way.hpp"
#include "control/run_dir.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include <system_error>

namespace understudy::control {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kClaimText = "understudy run directory 1\n";
constexpr std::string_view kMade = "made ";
constexpr std::string_view kJournalText = "understudy-journal ";
constexpr std::size_t kMostNamed = 3;
constexpr std::size_t kLongestNamed = 64;
constexpr mode_t kOthersWrite = 022;

// The beginning of a regular file of this user; nothing when it is anything else.
std::optional<std::string> beginning_of(const fs::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != ::geteuid())
    return std::nullopt;
  std::string text(256, '\0');
  const ssize_t got = ::read(fd.get(), text.data(), text.size());
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  return text;
}

// One that was being written when its writer died counts: nobody else has a file of this name.
bool has_marker(const fs::path& dir) {
  const auto text = beginning_of(dir / kClaimFile);
  return text && (text->starts_with(kClaimText) || kClaimText.starts_with(*text));
}

bool has_journal(const fs::path& dir) {
  const auto text = beginning_of(RunFiles{dir}.journal());
  return text && text->starts_with(kJournalText);
}

std::vector<std::string> names_in(const fs::path& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator each(dir, error), end; !error && each != end; each.increment(error))
    names.push_back(each->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMostNamed); ++i)
    text += (i == 0 ? "" : ", ") + shown(names[i], kLongestNamed);
  if (names.size() > kMostNamed) text += " and " + std::to_string(names.size() - kMostNamed) + " more";
  return text;
}

std::string errno_text() {
  return std::strerror(errno);
}

Result<bool> write_marker(const fs::path& dir, int made) {
  const fs::path file = dir / kClaimFile;
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd && errno == EEXIST && has_marker(dir)) return false;  // somebody of ours was faster
  const std::string text = std::string(kClaimText) + std::string(kMade) + std::to_string(made) + "\n";
  if (fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return true;
  const std::string why = errno_text();
  if (fd) ::unlink(file.c_str());
  return failure("cannot claim the run directory " + dir.string() + ": " + why);
}

Result<void> check_ours(const fs::path& dir) {
  auto ours = open_ours(dir);
  if (ours) return {};
  return failure(dir.string() + " cannot be the run directory: " + ours.error().message);
}

// How many directories, this one included, claim() made.
int made_of(const fs::path& dir) {
  std::istringstream lines(beginning_of(dir / kClaimFile).value_or(""));
  for (std::string line; std::getline(lines, line);) {
    int count = 0;
    if (line.starts_with(kMade))
      std::from_chars(line.data() + kMade.size(), line.data() + line.size(), count);
    if (count > 0) return count;
  }
  return 0;
}

void remove_made(const fs::path& dir, int made) {
  fs::path each = dir;
  for (; made > 0 && ::rmdir(each.c_str()) == 0; --made) each = each.parent_path();
}

Result<bool> make_and_claim(const fs::path& dir) {
  std::vector<fs::path> missing;
  struct stat info {};
  for (fs::path each = dir; ::stat(each.c_str(), &info) != 0 && each.has_relative_path();
       each = each.parent_path()) {
    if (errno != ENOENT) return failure("cannot use the run directory " + dir.string() + ": " + errno_text());
    missing.push_back(each);
  }
  // None is missing any more when somebody of ours was faster.
  if (auto safe = check_way_to((missing.empty() ? dir : missing.back()).parent_path()); !safe)
    return failure("cannot make the run directory " + dir.string() + ": " + safe.error().message);
  int made = 0;
  for (auto each = missing.rbegin(); each != missing.rend(); ++each) {
    if (::mkdir(each->c_str(), 0700) == 0) {
      ++made;
    } else if (errno != EEXIST) {
      const std::string why = errno_text();
      remove_made(each->parent_path(), made);
      return failure("cannot make the run directory " + dir.string() + ": " + why);
    } else {
      made = 0;  // made by somebody else, and so is what is above it
    }
  }
  // Somebody else may have been faster.
  Result<void> ours = check_ours(dir);
  auto claimed = ours ? write_marker(dir, made) : tl::unexpected(ours.error());
  if (!claimed) remove_made(dir, made);
  return claimed;
}

void add(std::vector<fs::path>& dirs, const fs::path& dir, const fs::path& than) {
  if (dir == than || std::find(dirs.begin(), dirs.end(), dir) != dirs.end()) return;
  if (check_claimed(dir)) dirs.push_back(dir);
}

std::vector<std::string> words_of(const fs::path& process) {
  std::vector<std::string> words;
  std::ifstream in(process / "cmdline", std::ios::binary);
  for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace

Result<void> check_claimed(const fs::path& dir) {
  struct stat info {};
  if (::stat(dir.c_str(), &info) != 0) {
    if (errno == ENOENT) return failure("there is no directory " + dir.string());
    return failure("cannot look into " + dir.string() + ": " + errno_text());
  }
  if (!S_ISDIR(info.st_mode)) return failure(dir.string() + " is no directory");
  if (has_marker(dir) || has_journal(dir)) return check_ours(dir);
  const auto names = names_in(dir);
  return failure(
      dir.string() + " is no run directory of Understudy's: " +
      (names.empty() ? "it is empty" : "it has no " + std::string(kClaimFile) + ", but " + some_of(names)));
}

Result<bool> claim(const fs::path& dir) {
  struct stat info {};
  if (::stat(dir.c_str(), &info) != 0 && errno == ENOENT) return make_and_claim(dir);
  const Result<void> claimed = check_claimed(dir);
  if (claimed) {
    if (has_marker(dir)) return false;
    const auto marked = write_marker(dir, 0);
    return marked ? Result<bool>(false) : marked;
  }
  const auto names =
      names_in(dir);  // before the look at the marker: one that is made since is not among them
  if (has_marker(dir) || has_journal(dir)) {  // claimed since, or not ours
    if (auto ours = check_ours(dir); !ours) return failure(ours.error().message + "; nothing was touched");
    return false;
  }
  if (!S_ISDIR(info.st_mode) || !names.empty()) {
    return failure(claimed.error().message +
                   "; nothing was touched: choose a new or an empty directory with --run-dir, such as " +
                   (dir / "understudy").string());
  }
  if (info.st_uid != ::geteuid() || (info.st_mode & kOthersWrite) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", info.st_mode & 07777U);
    return failure("others can write to " + dir.string() + " (it belongs to uid " +
                   std::to_string(info.st_uid) + ", mode " + mode +
                   "); nothing was touched: choose a directory of its own with --run-dir, such as " +
                   (dir / "understudy").string());
  }
  if (auto ours = check_ours(dir); !ours) return failure(ours.error().message + "; nothing was touched");
  return write_marker(dir, 0);
}

Result<void> unclaim(const fs::path& dir) {
  auto names = names_in(dir);
  std::erase(names, kClaimFile);
  if (!names.empty())
    return failure(dir.string() +
                   " has files that are not Understudy's, and they are left alone: " + some_of(names));
  const int made = made_of(dir);
  if (::unlink((dir / kClaimFile).c_str()) != 0 && errno != ENOENT)
    return failure("cannot remove " + (dir / kClaimFile).string() + ": " + errno_text());
  remove_made(dir, made);
  return {};
}

namespace {

constexpr int kEndLimit_ms = 2000;
constexpr const char* kRemoved = "(deleted)";

// Of this user's daemons and gateways, with the run directory that each was started for.
template <class Act>
void for_each_of_ours(Act act) {
  std::error_code error;
  for (fs::directory_iterator each("/proc", error), end; !error && each != end; each.increment(error)) {
    struct stat info {};
    if (::stat(each->path().c_str(), &info) != 0 || info.st_uid != ::geteuid()) continue;
    const auto words = words_of(each->path());
    if (words.empty() || fs::path(words[0]).filename() != "understudyd") continue;
    for (std::size_t i = 1; i + 1 < words.size(); ++i) {
      if (words[i] == "--run-dir") act(each->path(), fs::path(words[i + 1]));
      if (words[i] == "--gateway") act(each->path(), fs::path(words[i + 1]).parent_path());
    }
  }
}

// The directory in which a daemon's or gateway's own file is by now: it is open for as long as that lives.
// Empty: not known, as in another container, whose paths are not ours.
fs::path is_in(const fs::path& process) {
  std::error_code error;
  if (!fs::equivalent(process / "ns/mnt", "/proc/self/ns/mnt", error)) return {};
  for (fs::directory_iterator each(process / "fd", error), end; !error && each != end;
       each.increment(error)) {
    std::error_code ignored;
    const fs::path file = fs::read_symlink(each->path(), ignored);
    const std::string name = file.filename().string();
    for (const char* ours : {"lock", "gateway.log"}) {
      if (name == ours) return file.parent_path();
      if (name == std::string(ours) + " (deleted)") return kRemoved;
    }
  }
  return {};
}

// One that was told to end may be at it.
bool ends(const fs::path& process) {
  const pid_t pid = static_cast<pid_t>(std::strtol(process.filename().c_str(), nullptr, 10));
  const UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd end{fd.get(), POLLIN, 0};
  return !fd || ::poll(&end, 1, kEndLimit_ms) == 1;
}

}  // namespace

std::vector<fs::path> other_run_dirs(const fs::path& than) {
  std::vector<fs::path> dirs;
  if (const auto usual = run_dir("")) add(dirs, *usual, than);
  for_each_of_ours([&](const fs::path&, const fs::path& dir) { add(dirs, dir, than); });
  return dirs;
}

std::string who_serves_elsewhere(const fs::path& dir) {
  std::string text;
  for_each_of_ours([&](const fs::path& process, const fs::path& its) {
    if (its.lexically_normal() != dir.lexically_normal()) return;
    const fs::path now = is_in(process);
    std::error_code not_there;
    if (now.empty() || fs::equivalent(now, dir, not_there) || ends(process)) return;
    const std::string pid = process.filename().string();
    text += (text.empty() ? "" : "; ") + ("process " + pid + " was started for ") + dir.string() +
            " and runs, but its directory is ";
    text += now == kRemoved ? "gone: end it by `kill " + pid + "`, and its guests, which `ps` shows"
                            : now.string() + " now: move it back, then `understudy down` again";
  });
  return text;
}

std::string where_it_is(const fs::path& not_here) {
  std::string text;
  for (const fs::path& dir : other_run_dirs(not_here)) {
    text += (text.empty() ? "Understudy is in " : "; and in ") + dir.string() + ": `understudy --run-dir " +
            dir.string() + " down`";
  }
  return text;
}

}  // namespace understudy::control

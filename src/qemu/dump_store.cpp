#include "qemu/dump_store.hpp"

#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>

#include <system_error>

namespace understudy::qemu {

namespace fs = std::filesystem;

namespace {

constexpr const char* kEnding = ".vmcore";
constexpr const char* kPart = ".part";

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts);
  return text;
}

struct Name {
  std::string guest;
  std::string time;
  bool part = false;
};

bool all_of(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

// The parts of a name that begin() made; nothing for any other.
std::optional<Name> parse_name(std::string_view text) {
  Name name;
  if (text.ends_with(kPart)) {
    name.part = true;
    text.remove_suffix(std::strlen(kPart));
  }
  if (!text.ends_with(kEnding)) return std::nullopt;
  text.remove_suffix(std::strlen(kEnding));
  const auto run = text.rfind("-run");
  if (run == std::string_view::npos || !all_of(text.substr(run + 4), "0123456789")) return std::nullopt;
  text = text.substr(0, run);
  const auto time = text.rfind('-');
  if (time == std::string_view::npos || time == 0) return std::nullopt;
  name.guest = text.substr(0, time);
  name.time = text.substr(time + 1);
  if (name.time.size() != 16 || !all_of(name.time, "0123456789TZ")) return std::nullopt;
  return name;
}

struct Found {
  fs::path path;
  Name name;
  Bytes bytes = 0;
  fs::file_time_type written;
};

std::vector<Found> find(const fs::path& directory) {
  std::vector<Found> all;
  std::error_code error;
  for (fs::directory_iterator each(directory, error), end; !error && each != end; each.increment(error)) {
    const auto name = parse_name(each->path().filename().native());
    std::error_code ignored;
    struct stat info {};
    // Written by this user, as ours are: a copy that somebody else keeps beside them is not.
    if (!name || ::lstat(each->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode) ||
        info.st_uid != ::geteuid())
      continue;
    all.push_back({each->path(), *name, each->file_size(ignored), each->last_write_time(ignored)});
  }
  return all;
}

}  // namespace

Result<DumpPart> DumpStore::begin(const std::string& guest, std::uint32_t run, Bytes bytes) const {
  const fs::path& directory = settings_.directory;
  if (bytes > settings_.budget_bytes) {
    return failure("it takes " + format_size(bytes) + ", more than the budget of all dumps (" +
                   format_size(settings_.budget_bytes) + "); raise budget in [dumps]");
  }
  std::error_code error;
  fs::create_directories(directory.parent_path(), error);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return failure("cannot make the directory " + directory.string() + ": " + std::strerror(errno));
  struct statvfs disk {};
  if (::statvfs(directory.c_str(), &disk) != 0)
    return failure("cannot look at " + directory.string() + ": " + std::strerror(errno));
  const Bytes free = static_cast<Bytes>(disk.f_bavail) * disk.f_frsize;
  if (free < bytes + kLeftFree) {
    return failure(directory.string() + " has " + format_size(free) + " free, and a dump of " +
                   format_size(bytes) + " has to leave " + format_size(kLeftFree) +
                   "; make room, or set another directory in [dumps]");
  }
  fs::path part = directory / (guest + "-" + now_text() + "-run" + std::to_string(run) + kEnding + kPart);
  abandon(part);
  UniqueFd fd(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return failure("cannot write " + part.string() + ": " + std::strerror(errno));
  return DumpPart{std::move(part), std::move(fd)};
}

Result<fs::path> DumpStore::finish(const fs::path& part) const {
  fs::path file = part;
  file.replace_extension();  // ".part"
  if (::rename(part.c_str(), file.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    abandon(part);
    return failure("cannot rename " + part.string() + ": " + why);
  }
  remove_oldest();
  return file;
}

void DumpStore::abandon(const fs::path& part) {
  ::unlink(part.c_str());
}

void DumpStore::clear_parts(const std::vector<std::string>& guests) const {
  for (const Found& each : find(settings_.directory)) {
    const bool ours = std::find(guests.begin(), guests.end(), each.name.guest) != guests.end();
    if (each.name.part && ours) abandon(each.path);
  }
}

void DumpStore::remove_oldest() const {
  std::vector<Found> all = find(settings_.directory);
  std::erase_if(all, [](const Found& each) { return each.name.part; });
  std::sort(all.begin(), all.end(), [](const Found& a, const Found& b) {
    return a.written != b.written ? a.written > b.written : a.name.time > b.name.time;
  });
  Bytes sum = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    sum += all[i].bytes;
    const bool newest = i == 0;
    if (!newest && (i >= settings_.keep || sum > settings_.budget_bytes)) {
      ::unlink(all[i].path.c_str());
      sum -= all[i].bytes;
    }
  }
}

}  // namespace understudy::qemu

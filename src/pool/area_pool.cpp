#include "pool/area_pool.hpp"

#include "base/check.hpp"
#include "base/counted.hpp"
#include "base/way.hpp"
#include "pool/host_memory.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::pool {

namespace fs = std::filesystem;

namespace {

constexpr Bytes kHugePage = 2_MiB;
constexpr Bytes kStatBlock = 512;  // what st_blocks counts, whatever the filesystem's block is
constexpr Bytes kPart = 2_MiB;     // as hugetlbfs can take it
constexpr mode_t kOurs = 0600;
constexpr mode_t kWithItsGroup = 0660;
constexpr std::size_t kMostAttributeBytes = 64_KiB;  // more than the kernel lists at once

Result<void> allocate_file(int fd, Bytes bytes) {
  while (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return failure(std::strerror(errno));
  }
  return {};
}

// In parts: the kernel lets nobody at the file meanwhile, and the loop may want to give it to somebody.
Result<void> allocate_in_parts(int fd, Bytes bytes) {
  for (Bytes done = 0; done < bytes; done += kPart) {
    const auto part = static_cast<off_t>(std::min(kPart, bytes - done));
    while (::fallocate(fd, 0, static_cast<off_t>(done), part) != 0) {
      if (errno != EINTR) return failure(std::strerror(errno));
    }
  }
  return {};
}

Result<void> punch(int fd, Bytes bytes) {
  while (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return failure(std::strerror(errno));
  }
  return {};
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

// The place where an earlier daemon's areas are, if any of those that it may have used has some.
Result<std::optional<Place>> find_place(const fs::path& run_dir) {
  const auto what = remembered(run_dir);
  if (!what) return std::optional<Place>{};
  for (const Place& place : places(*what, run_dir, ::geteuid() == 0)) {
    if (!place_exists(place)) continue;
    auto names = area_files(place);
    if (!names) return failure(names.error().message);
    if (!names->empty()) return place;
  }
  return std::optional<Place>{};
}

// What somebody else has put where they should be.
std::string instead_of_them(const fs::path& run_dir) {
  std::string text;
  const auto what = remembered(run_dir);
  if (!what) return text;
  for (const Place& place : places(*what, run_dir, ::geteuid() == 0)) text += what_is_there(place);
  return text;
}

}  // namespace

AreaPool::AreaPool(config::Pool config, Place place, boost::asio::io_context& loop, engine::EventSink sink)
    : config_(std::move(config)),
      place_(std::move(place)),
      loop_(loop),
      sink_(std::make_shared<engine::EventSink>(std::move(sink))) {
  auto done = [&loop = loop_, weak = std::weak_ptr(sink_)](core::AreaId area, Result<void> result) {
    boost::asio::post(loop, [weak, area, result = std::move(result)] {
      const auto deliver = weak.lock();
      if (!deliver) return;
      if (result)
        (*deliver)(core::event::AreaScrubbed{area});
      else
        (*deliver)(core::event::ScrubFailed{area, result.error().message});
    });
  };
  scrubber_ = std::make_unique<AreaWorker>([this](core::AreaId area) { return zero(area); }, std::move(done));
  repairer_ = std::make_unique<AreaWorker>(
      [this, weak = std::weak_ptr(sink_)](core::AreaId area) {
        Repair repaired = repair(area);
        if (!repaired.done) repaired.what.push_back(repaired.done.error().message);
        if (!repaired.what.empty()) {
          boost::asio::post(loop_, [this, weak, area, what = std::move(repaired.what)] {
            if (const auto alive = weak.lock()) {
              for (const std::string& each : what) say_repaired(area, each);
            }
          });
        }
        return repaired.done;
      },
      [](core::AreaId, const Result<void>&) {});
}

AreaPool::~AreaPool() = default;

Result<std::unique_ptr<AreaPool>> AreaPool::create(const config::Pool& config, const fs::path& run_dir,
                                                   std::uint32_t area_count, boost::asio::io_context& loop,
                                                   engine::EventSink sink) {
  auto earlier = find_place(run_dir);
  if (!earlier) return failure(earlier.error().message);
  if (*earlier)
    return failure("areas of an earlier run are still in " + (*earlier)->path.string() +
                   "; end it with `understudy down` first");
  if (auto cleared = remove(run_dir); !cleared) return failure(cleared.error().message);
  auto name = draw_name();
  if (!name) return failure(name.error().message);
  const Remembered what{config, *name};
  if (auto noted = remember(run_dir, what); !noted) return failure(noted.error().message);
  std::string why = "no place for the pool";
  for (const Place& place : places(what, run_dir, ::geteuid() == 0)) {
    auto made = make_place(place, config.backing, area_count * config.area_bytes, area_count);
    if (!made) {  // a container's root may not mount: the next place is good enough
      why = made.error().message;
      continue;
    }
    std::unique_ptr<AreaPool> pool(new AreaPool(config, place, loop, sink));
    pool->description_ = *made;
    if (auto ok = pool->make_files(area_count); !ok) {
      pool.reset();
      if (auto removed = remove_place(place); !removed)
        return failure(ok.error().message + "; and then: " + removed.error().message);
      return failure(ok.error().message);
    }
    return pool;
  }
  return failure(why);
}

Result<std::unique_ptr<AreaPool>> AreaPool::reopen(const config::Pool& config, const fs::path& run_dir,
                                                   std::uint32_t area_count, boost::asio::io_context& loop,
                                                   engine::EventSink sink) {
  auto place = find_place(run_dir);
  if (!place) return failure(place.error().message);
  if (!*place)
    return failure("the areas of run directory " + run_dir.string() + " are gone (was the host restarted?)" +
                   instead_of_them(run_dir) + "; start anew with `understudy down` and `understudy up`");
  std::unique_ptr<AreaPool> pool(new AreaPool(config, **place, loop, std::move(sink)));
  pool->description_ = "areas of an earlier daemon in " + (*place)->path.string();
  const Bytes made_bytes = remembered(run_dir)->pool.area_bytes;
  if (auto ok = pool->open_files(area_count, made_bytes); !ok) return failure(ok.error().message);
  return pool;
}

Result<bool> AreaPool::exists(const fs::path& run_dir) {
  auto place = find_place(run_dir);
  if (!place) return failure(place.error().message);
  return place->has_value();
}

Result<void> AreaPool::remove(const fs::path& run_dir) {
  const auto what = remembered(run_dir);
  if (!what) return {};
  // Every place that any way of running could have used; the others are still removed when one cannot be.
  std::string problems;
  for (const Place& place : places(*what, run_dir, ::geteuid() == 0)) {
    if (auto ok = remove_place(place); !ok) problems += (problems.empty() ? "" : "; ") + ok.error().message;
  }
  if (problems.empty()) return {};
  return failure(problems);
}

Result<void> AreaPool::make_files(std::uint32_t area_count) {
  const auto page = page_bytes(place_.path);
  if (!page) return failure(page.error().message);
  if (config_.area_bytes == 0 || config_.area_bytes % *page != 0)
    return failure("[pool] area size " + format_size(config_.area_bytes) + " is not a multiple of the " +
                   format_size(*page) + " pages of " + place_.path.string() + "; choose one that is");
  if (config_.reserve) {
    if (auto ok = check_room(place_.path, area_count * config_.area_bytes); !ok) return ok;
  }
  alignment_ = std::max(*page, config_.area_bytes % kHugePage == 0 ? kHugePage : *page);
  for (std::uint32_t i = 0; i < area_count; ++i) {
    const fs::path file = place_.path / area_file_name({i});
    UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return failure("cannot make the area " + file.string() + ": " + std::strerror(errno));
    if (::fchmod(fd.get(), 0600) != 0 || ::ftruncate(fd.get(), static_cast<off_t>(config_.area_bytes)) != 0)
      return failure("cannot size the area " + file.string() + ": " + std::strerror(errno));
    files_.push_back(std::move(fd));
  }
  return config_.reserve ? allocate() : Result<void>{};
}

// made_bytes: what each was made with; 0: nobody wrote it down.
Result<void> AreaPool::open_files(std::uint32_t area_count, Bytes made_bytes) {
  const auto names = area_files(place_);
  const auto page = page_bytes(place_.path);
  if (!names) return failure(names.error().message);
  if (!page) return failure(page.error().message);
  alignment_ = std::max(*page, config_.area_bytes % kHugePage == 0 ? kHugePage : *page);
  const std::string remedy =
      "; the [pool] of the running configuration differs from the one the pool was made with: restore it, or "
      "`understudy down` and `understudy up`";
  if (names->size() != area_count)
    return failure(place_.path.string() + " has " + counted(names->size(), "area") + ", not " +
                   std::to_string(area_count) + remedy);
  if (made_bytes != 0 && made_bytes != config_.area_bytes)
    return failure("the areas in " + place_.path.string() + " have " + std::to_string(made_bytes) +
                   " bytes, not " + std::to_string(config_.area_bytes) + remedy);
  auto directory = open_ours(place_.path);
  if (!directory) return failure(directory.error().message);
  for (std::uint32_t i = 0; i < area_count; ++i) {
    const fs::path file = place_.path / area_file_name({i});
    UniqueFd fd(::openat(directory->get(), area_file_name({i}).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0)
      return failure("cannot open the area " + file.string() + ": " + std::strerror(errno) + remedy);
    const bool known = made_bytes != 0 || static_cast<Bytes>(info.st_size) == config_.area_bytes;
    if (!S_ISREG(info.st_mode) || !known)
      return failure("the area " + file.string() + " has " + std::to_string(info.st_size) + " bytes, not " +
                     std::to_string(config_.area_bytes) + remedy);
    files_.push_back(std::move(fd));
  }
  // A creation may have been cut short before its last page, a QEMU may have changed what it had. Pages that
  // are there stay as they are.
  for (std::uint32_t i = 0; i < area_count; ++i) {
    const Repair done = repair({i});
    for (const std::string& what : done.what) say_repaired({i}, what);
    if (!done.done) return done.done;
  }
  return {};
}

Result<void> AreaPool::allocate() {
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    if (auto ok = allocate_file(files_[i].get(), config_.area_bytes); !ok)
      return failure("cannot allocate the area " + path({i}).string() + " (" + std::to_string(i + 1) +
                     " of " + std::to_string(files_.size()) + ", " + format_size(config_.area_bytes) +
                     " each): " + ok.error().message +
                     "; make [pool] memory smaller or free memory on the host");
  }
  return {};
}

void AreaPool::scrub(core::AreaId area) {
  US_CHECK(area.value < files_.size());
  scrubber_->add(area);
}

Result<void> AreaPool::zero(core::AreaId area) {
  const int fd = files_[area.value].get();
  Result<void> done;
  if (!config_.reserve) {
    done = punch(fd, config_.area_bytes);
  } else if (on_hugetlbfs(fd)) {  // has no write(); its pages come from a stock of their own
    done = punch(fd, config_.area_bytes);
    if (done) done = allocate_file(fd, config_.area_bytes);
  } else {
    done = overwrite(fd, config_.area_bytes);
  }
  if (done) return {};
  return failure("cannot scrub " + path(area).string() + ": " + done.error().message);
}

Result<void> AreaPool::give(core::AreaId area, gid_t to) {
  US_CHECK(area.value < files_.size());
  if (auto long_enough = lengthen(area); !long_enough) return long_enough;
  const int fd = files_[area.value].get();
  if (::fchown(fd, ::geteuid(), to) == 0 && ::fchmod(fd, kWithItsGroup) == 0) return {};
  return failure("cannot give " + path(area).string() + " to group " + std::to_string(to) + ": " +
                 std::strerror(errno) +
                 "; if this root may not do that, write run_as = \"daemon\" in [qemu]");
}

void AreaPool::take_back(core::AreaId area, gid_t from) {
  US_CHECK(area.value < files_.size());
  struct stat info {};
  if (::fstat(files_[area.value].get(), &info) != 0 || (info.st_gid != from && info.st_uid != from)) return;
  close_to_others(area);
  (void)lengthen(area);  // tried again before it is given to anybody, and said then
  repairer_->add(area);
}

void AreaPool::take_back_all(gid_t from) {
  for (std::uint32_t i = 0; i < files_.size(); ++i) take_back({i}, from);
}

void AreaPool::take_back_except(const std::vector<gid_t>& living) {
  const auto lives = [&living](gid_t one) {
    return std::find(living.begin(), living.end(), one) != living.end();
  };
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    struct stat info {};
    if (::fstat(files_[i].get(), &info) != 0) continue;
    const bool ours = info.st_uid == ::geteuid() && info.st_gid == ::getegid();
    if (!ours && !lives(info.st_gid) && !lives(info.st_uid)) close_to_others({i});
  }
}

// Whoever may give may take back; if not, giving it to the next one says so.
void AreaPool::close_to_others(core::AreaId area) {
  const int fd = files_[area.value].get();
  struct stat info {};
  if (::fstat(fd, &info) != 0) return;
  const mode_t mode = info.st_mode & 07777U;
  if (::fchown(fd, ::geteuid(), ::getegid()) != 0) return;
  (void)!::fchmod(fd, kOurs);
  // An ACL lets others in whatever the mode says.
  std::string names(kMostAttributeBytes, '\0');
  const ssize_t length = ::flistxattr(fd, names.data(), names.size());
  names.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  bool had_some = false;
  for (std::size_t at = 0; at < names.size(); at += std::strlen(&names[at]) + 1)
    had_some = ::fremovexattr(fd, &names[at]) == 0 || had_some;
  if (had_some) say_repaired(area, "it had extended attributes or an ACL");
  if (mode != kOurs && mode != kWithItsGroup) say_repaired(area, "its mode had been changed");
}

Result<void> AreaPool::lengthen(core::AreaId area) {
  const int fd = files_[area.value].get();
  const auto size = static_cast<off_t>(config_.area_bytes);
  struct stat info {};
  if (::fstat(fd, &info) == 0 && info.st_size >= size) return {};
  if (::ftruncate(fd, size) != 0)
    return failure("cannot give the area " + path(area).string() + " its size: " + std::strerror(errno));
  say_repaired(area, "its size was " + std::to_string(info.st_size) + " bytes, not " + std::to_string(size));
  return {};
}

AreaPool::Repair AreaPool::repair(core::AreaId area) const {
  const int fd = files_[area.value].get();
  const auto size = static_cast<off_t>(config_.area_bytes);
  struct stat before {};
  struct stat after {};
  // Also takes away what was allocated behind its end.
  if (::fstat(fd, &before) != 0 || ::ftruncate(fd, size) != 0 || ::fstat(fd, &after) != 0)
    return {{}, failure("the area " + path(area).string() + " cannot be put right: " + std::strerror(errno))};
  Repair done;
  if (before.st_size != size) {
    done.what.push_back("its size was " + std::to_string(before.st_size) + " bytes, not " +
                        std::to_string(size));
  } else if (after.st_blocks < before.st_blocks) {
    done.what.push_back("it had memory behind its end");
  }
  const bool whole = static_cast<Bytes>(after.st_blocks) * kStatBlock >= config_.area_bytes;
  if (!config_.reserve || whole) return done;
  done.what.push_back("part of its memory had been given back to the host");
  done.done = allocate_again(area);
  return done;
}

// The room may have been taken by another QEMU, for an area that it made larger.
Result<void> AreaPool::allocate_again(core::AreaId area) const {
  const int fd = files_[area.value].get();
  Result<void> done = allocate_in_parts(fd, config_.area_bytes);
  if (done) return done;
  for (const UniqueFd& other : files_)
    (void)!::ftruncate(other.get(), static_cast<off_t>(config_.area_bytes));
  done = allocate_in_parts(fd, config_.area_bytes);
  if (done) return done;
  return failure("the memory of the area " + path(area).string() +
                 " was given back by a guest's QEMU and cannot be had again: " + done.error().message);
}

void AreaPool::say_repaired(core::AreaId area, const std::string& what) {
  if (repaired_) return repaired_(area, what);
  said_later_.emplace_back(area, what);
}

void AreaPool::on_repair(Repaired call) {
  repaired_ = std::move(call);
  for (const auto& [area, what] : std::exchange(said_later_, {})) say_repaired(area, what);
}

Result<UniqueFd> AreaPool::open_to_users() {
  UniqueFd directory(::open(place_.path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory || ::fchmod(directory.get(), 0711) != 0)
    return failure("cannot open the pool's directory " + place_.path.string() +
                   " to the guests' users: " + std::strerror(errno));
  // Only a place to begin a path at: what QEMU gets does not list it.
  UniqueFd path(::open(place_.path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!path) return failure("cannot open " + place_.path.string() + ": " + std::strerror(errno));
  return path;
}

fs::path AreaPool::path(core::AreaId area) const {
  return place_.path / area_file_name(area);
}

Bytes AreaPool::allocated_bytes() const {
  Bytes total = 0;
  for (const UniqueFd& file : files_) {
    struct stat info {};
    if (::fstat(file.get(), &info) == 0) total += static_cast<Bytes>(info.st_blocks) * kStatBlock;
  }
  return total;
}

}  // namespace understudy::pool

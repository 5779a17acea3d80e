#include "pool/area_pool.hpp"

#include "base/check.hpp"
#include "base/counted.hpp"
#include "pool/host_memory.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
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

Result<void> allocate_file(int fd, Bytes bytes) {
  while (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return failure(std::strerror(errno));
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

// The place where an earlier daemon's areas are, if any of the possible ones has some.
Result<std::optional<Place>> find_place(const config::Pool& config, const fs::path& run_dir) {
  for (const Place& place : places(config, run_dir, ::geteuid() == 0)) {
    auto exists = place_exists(place);
    if (!exists) return failure(exists.error().message);
    if (!*exists) continue;
    auto names = area_files(place);
    if (!names) return failure(names.error().message);
    if (!names->empty()) return place;
  }
  return std::optional<Place>{};
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
  scrubber_ = std::make_unique<Scrubber>([this](core::AreaId area) { return zero(area); }, std::move(done));
}

AreaPool::~AreaPool() = default;

Result<std::unique_ptr<AreaPool>> AreaPool::create(const config::Pool& config, const fs::path& run_dir,
                                                   std::uint32_t area_count, boost::asio::io_context& loop,
                                                   engine::EventSink sink) {
  auto earlier = find_place(config, run_dir);
  if (!earlier) return failure(earlier.error().message);
  if (*earlier)
    return failure("areas of an earlier run are still in " + (*earlier)->path.string() +
                   "; end it with `understudy down` first");
  std::string why = "no place for the pool";
  for (const Place& place : places(config, run_dir, ::geteuid() == 0)) {
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
  auto place = find_place(config, run_dir);
  if (!place) return failure(place.error().message);
  if (!*place)
    return failure(
        "the areas of run directory " + run_dir.string() +
        " are gone (was the host restarted?); start anew with `understudy down` and `understudy up`");
  std::unique_ptr<AreaPool> pool(new AreaPool(config, **place, loop, std::move(sink)));
  pool->description_ = "areas of an earlier daemon in " + (*place)->path.string();
  if (auto ok = pool->open_files(area_count); !ok) return failure(ok.error().message);
  return pool;
}

Result<bool> AreaPool::exists(const config::Pool& config, const fs::path& run_dir) {
  auto place = find_place(config, run_dir);
  if (!place) return failure(place.error().message);
  return place->has_value();
}

Result<void> AreaPool::remove(const config::Pool& config, const fs::path& run_dir) {
  // Every place that any way of running could have used, whichever the configuration names now; the others
  // are still removed when one cannot be.
  std::string problems;
  for (const Place& place : places(config, run_dir, ::geteuid() == 0)) {
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

Result<void> AreaPool::open_files(std::uint32_t area_count) {
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
  for (std::uint32_t i = 0; i < area_count; ++i) {
    const fs::path file = place_.path / area_file_name({i});
    UniqueFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0)
      return failure("cannot open the area " + file.string() + ": " + std::strerror(errno) + remedy);
    if (!S_ISREG(info.st_mode) || static_cast<Bytes>(info.st_size) != config_.area_bytes)
      return failure("the area " + file.string() + " has " + std::to_string(info.st_size) + " bytes, not " +
                     std::to_string(config_.area_bytes) + remedy);
    files_.push_back(std::move(fd));
  }
  // A creation may have been cut short before its last page. Pages that are there already stay as they are.
  return config_.reserve ? allocate() : Result<void>{};
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

Result<void> AreaPool::give(core::AreaId area, uid_t uid, gid_t gid) {
  US_CHECK(area.value < files_.size());
  if (::fchown(files_[area.value].get(), uid, gid) == 0) return {};
  return failure("cannot give " + path(area).string() + " to uid " + std::to_string(uid) + ": " +
                 std::strerror(errno) +
                 "; if this root may not do that, write run_as = \"daemon\" in [qemu]");
}

void AreaPool::take_back(core::AreaId area, uid_t from) {
  US_CHECK(area.value < files_.size());
  const int fd = files_[area.value].get();
  struct stat info {};
  if (::fstat(fd, &info) != 0 || info.st_uid != from) return;
  // Whoever may give may take back; if not, giving it to the next one says so.
  (void)!::fchown(fd, ::geteuid(), ::getegid());
}

void AreaPool::take_back_all(uid_t from) {
  for (std::uint32_t i = 0; i < files_.size(); ++i) take_back({i}, from);
}

void AreaPool::take_back_except(const std::vector<uid_t>& living) {
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    struct stat info {};
    if (::fstat(files_[i].get(), &info) != 0 || info.st_uid == ::geteuid()) continue;
    if (std::find(living.begin(), living.end(), info.st_uid) == living.end()) take_back({i}, info.st_uid);
  }
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

#include "pool/area_pool.hpp"

#include "base/check.hpp"
#include "base/counted.hpp"
#include "base/way.hpp"
#include "pool/host_memory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
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

// Every place in which areas of this run directory may be; none: no pool was made here.
std::vector<Place> remembered_places(const fs::path& run_dir) {
  const auto what = remembered(run_dir);
  return what ? places(*what, run_dir, ::geteuid() == 0) : std::vector<Place>{};
}

// The place where an earlier daemon's areas are, if any of those that it may have used has some.
Result<std::optional<Place>> find_place(const fs::path& run_dir) {
  for (const Place& place : remembered_places(run_dir)) {
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
  for (const Place& place : remembered_places(run_dir)) text += what_is_there(place);
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
  auto found = [this, weak = std::weak_ptr(sink_)](core::AreaId area, const AreaFile::Repair& repair) {
    boost::asio::post(loop_, [this, weak, area, repair] {
      if (const auto alive = weak.lock()) say(area, repair);
    });
  };
  repairer_ = std::make_unique<AreaWorker>(
      [this, found = std::move(found)](core::AreaId area) {
        AreaFile::Repair repair = put_right(area);
        found(area, repair);
        return repair.done;
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
  // The others are still removed when one cannot be.
  std::string problems;
  for (const Place& place : remembered_places(run_dir)) {
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
    files_.emplace_back(std::move(fd), config_.area_bytes, config_.reserve);
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
    files_.emplace_back(std::move(fd), config_.area_bytes, config_.reserve);
  }
  // A creation may have been cut short before its last page, a QEMU may have changed what it had. Pages that
  // are there stay as they are. What cannot be put right is said, and holds up nobody: guests live.
  for (std::uint32_t i = 0; i < area_count; ++i) say({i}, put_right({i}));
  return {};
}

Result<void> AreaPool::allocate() {
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    if (auto ok = files_[i].allocate(); !ok)
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
  auto done = files_[area.value].zero();
  if (done) return done;
  return failure("cannot scrub " + path(area).string() + ": " + done.error().message);
}

Result<void> AreaPool::give(core::AreaId area, gid_t to) {
  US_CHECK(area.value < files_.size());
  const AreaFile& file = files_[area.value];
  const AreaFile::Repair length = file.lengthen();
  say(area, length);
  const Result<void> given = length.done ? file.open_to(to) : length.done;
  if (given) return given;
  return failure("cannot give " + path(area).string() + " to group " + std::to_string(to) + ": " +
                 given.error().message +
                 "; if this root may not do that, write run_as = \"daemon\" in [qemu]");
}

void AreaPool::take_back(core::AreaId area, gid_t from) {
  US_CHECK(area.value < files_.size());
  const AreaFile& file = files_[area.value];
  if (file.holder() != from) return;
  say(area, file.close_to_others());
  say(area, file.lengthen());
  repairer_->add(area);
}

void AreaPool::take_back_all(gid_t from) {
  for (std::uint32_t i = 0; i < files_.size(); ++i) take_back({i}, from);
}

void AreaPool::take_back_except(const std::vector<gid_t>& living) {
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    const auto holder = files_[i].holder();
    if (holder && std::find(living.begin(), living.end(), *holder) == living.end()) take_back({i}, *holder);
  }
}

// The room may have been taken by another QEMU, for an area that it made larger.
AreaFile::Repair AreaPool::put_right(core::AreaId area) const {
  const AreaFile& file = files_[area.value];
  AreaFile::Repair repair = file.put_right();
  if (repair.done) return repair;
  for (const AreaFile& other : files_) other.cut();
  repair.done = file.put_right().done;
  return repair;
}

void AreaPool::say(core::AreaId area, const AreaFile::Repair& repair) {
  if (repair.found.empty() && repair.done) return;
  if (repaired_) return repaired_(area, repair);
  said_later_.emplace_back(area, repair);
}

void AreaPool::on_repair(Repaired call) {
  repaired_ = std::move(call);
  for (const auto& [area, repair] : std::exchange(said_later_, {})) say(area, repair);
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
  for (const AreaFile& file : files_) total += file.allocated_bytes();
  return total;
}

Bytes AreaPool::missing_bytes(core::AreaId area) const {
  const Bytes allocated = files_.at(area.value).allocated_bytes();
  return config_.area_bytes - std::min(config_.area_bytes, allocated);
}

}  // namespace understudy::pool

#include "pool/area_pool.hpp"

#include "../as_user.hpp"
#include "../contained.hpp"
#include "pool/host_memory.hpp"
#include "pool_fixture.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <optional>
#include <set>

#include <boost/asio/executor_work_guard.hpp>

namespace understudy::pool {
namespace {

namespace fs = std::filesystem;
using test::Loop;
using test::RunDir;
using testing::HasSubstr;

constexpr uid_t kNobody = 65534;

void write_at(const fs::path& path, off_t offset, std::string_view text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(fd);
  ASSERT_EQ(::pwrite(fd.get(), text.data(), text.size(), offset), static_cast<ssize_t>(text.size()));
}

std::string read_at(const fs::path& path, off_t offset, std::size_t count) {
  std::string text(count, '?');
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::pread(fd.get(), text.data(), count, offset) != static_cast<ssize_t>(count))
    return "unreadable";
  return text;
}

// Every test body runs as whoever started the tests, and, when that is root, as a normal user too.
void as_root_and_as_user(const std::function<void(const fs::path& run_dir)>& body) {
  {
    const RunDir dir;
    SCOPED_TRACE("as uid " + std::to_string(::geteuid()));
    body(dir.path);
  }
  if (::geteuid() != 0) return;
  const RunDir dir;
  ASSERT_EQ(::chown(dir.path.c_str(), kNobody, kNobody), 0);
  understudy::test::as_user(kNobody, [&] {
    body(dir.path);
    const auto removed = AreaPool::remove(dir.path);
    if (!removed) ADD_FAILURE() << removed.error().message;
  });
}

TEST(AreaPool, MakesFilesOfExactlyTheRightSizeThatOnlyTheOwnerCanOpen) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    auto pool = AreaPool::create(RunDir::config(), run_dir, 3, loop.context, loop.sink());
    ASSERT_TRUE(pool) << pool.error().message;
    EXPECT_EQ((*pool)->area_count(), 3u);
    EXPECT_EQ((*pool)->alignment(), 2_MiB);
    for (std::uint32_t i = 0; i < 3; ++i) {
      struct stat info {};
      ASSERT_EQ(::lstat((*pool)->path({i}).c_str(), &info), 0);
      EXPECT_TRUE(S_ISREG(info.st_mode));
      EXPECT_EQ(static_cast<Bytes>(info.st_size), 4_MiB);
      EXPECT_EQ(info.st_mode & 07777, 0600u);
      EXPECT_EQ(info.st_uid, ::geteuid());
    }
    EXPECT_EQ((*pool)->path({2}).filename(), "area-0002");
    struct stat directory {};
    ASSERT_EQ(::lstat((*pool)->path({0}).parent_path().c_str(), &directory), 0);
    EXPECT_EQ(directory.st_mode & 07777, 0700u);
  });
}

TEST(AreaPool, ReserveAllocatesEveryPageAtOnceAndWithoutItNone) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    {
      auto pool = AreaPool::create(RunDir::config(true), run_dir, 3, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      EXPECT_EQ((*pool)->allocated_bytes(), 12_MiB);
    }
    ASSERT_TRUE(AreaPool::remove(run_dir));
    auto pool = AreaPool::create(RunDir::config(false), run_dir, 3, loop.context, loop.sink());
    ASSERT_TRUE(pool) << pool.error().message;
    EXPECT_EQ((*pool)->allocated_bytes(), 0u);
  });
}

TEST(AreaPool, RootGetsATmpfsOfItsOwnBelowTheRunDirectory) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts a tmpfs";
  const RunDir dir;
  Loop loop;
  auto pool = AreaPool::create(RunDir::config(), dir.path, 2, loop.context, loop.sink());
  ASSERT_TRUE(pool) << pool.error().message;
  if ((*pool)->description().starts_with("shared tmpfs")) GTEST_SKIP() << "this root may not mount";
  EXPECT_EQ((*pool)->path({0}), fs::canonical(dir.path) / "areas" / "area-0000");
  std::ifstream mounts("/proc/mounts");
  const std::string text((std::istreambuf_iterator<char>(mounts)), {});
  EXPECT_THAT(text, HasSubstr("understudy-areas " + (fs::canonical(dir.path) / "areas").string() + " tmpfs"));
  // It is exactly as large as the pool: nothing else fits in.
  const UniqueFd other(
      ::open((fs::canonical(dir.path) / "areas" / "x").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(other);
  EXPECT_NE(::fallocate(other.get(), 0, 0, 2_MiB), 0);
  ::unlink((fs::canonical(dir.path) / "areas" / "x").c_str());
}

TEST(AreaPool, ContentsOutliveTheDaemon) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    {
      auto pool = AreaPool::create(RunDir::config(), run_dir, 2, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      write_at((*pool)->path({1}), 1'000'000, "still here");
    }
    EXPECT_TRUE(AreaPool::exists(run_dir).value());
    auto pool = AreaPool::reopen(RunDir::config(), run_dir, 2, loop.context, loop.sink());
    ASSERT_TRUE(pool) << pool.error().message;
    EXPECT_EQ(read_at((*pool)->path({1}), 1'000'000, 10), "still here");
    EXPECT_EQ((*pool)->allocated_bytes(), 8_MiB);
  });
}

TEST(AreaPool, ReopenRefusesWhatTheConfigurationDoesNotSay) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    auto none = AreaPool::reopen(RunDir::config(), run_dir, 2, loop.context, loop.sink());
    ASSERT_FALSE(none);
    EXPECT_THAT(none.error().message, HasSubstr("are gone"));
    fs::path first;
    {
      auto pool = AreaPool::create(RunDir::config(), run_dir, 2, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      first = (*pool)->path({0});
    }
    auto more = AreaPool::reopen(RunDir::config(), run_dir, 3, loop.context, loop.sink());
    ASSERT_FALSE(more);
    EXPECT_THAT(more.error().message, HasSubstr("has 2 areas, not 3"));
    auto larger = AreaPool::reopen(RunDir::config(true, 8_MiB), run_dir, 2, loop.context, loop.sink());
    ASSERT_FALSE(larger);
    EXPECT_THAT(larger.error().message, HasSubstr("have 4194304 bytes, not 8388608"));
    ASSERT_EQ(::unlink(first.c_str()), 0);
    ASSERT_EQ(::symlink("/dev/zero", first.c_str()), 0);
    EXPECT_FALSE(AreaPool::reopen(RunDir::config(), run_dir, 2, loop.context, loop.sink()));
  });
}

TEST(AreaPool, ReopenFinishesAnAllocationThatWasCutShort) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    ASSERT_TRUE(AreaPool::create(RunDir::config(false), run_dir, 2, loop.context, loop.sink()));
    auto pool = AreaPool::reopen(RunDir::config(true), run_dir, 2, loop.context, loop.sink());
    ASSERT_TRUE(pool) << pool.error().message;
    EXPECT_EQ((*pool)->allocated_bytes(), 8_MiB);
  });
}

TEST(AreaPool, CreateRefusesToTakeAreasThatMayBeInUse) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    auto first = AreaPool::create(RunDir::config(), run_dir, 1, loop.context, loop.sink());
    ASSERT_TRUE(first) << first.error().message;
    write_at((*first)->path({0}), 0, "mine");
    auto second = AreaPool::create(RunDir::config(), run_dir, 1, loop.context, loop.sink());
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("understudy down"));
    EXPECT_EQ(read_at((*first)->path({0}), 0, 4), "mine");
  });
}

TEST(AreaPool, RefusesMoreThanTheHostHasAndLeavesNothingBehind) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    auto pool = AreaPool::create(RunDir::config(true, 1024_GiB), run_dir, 64, loop.context, loop.sink());
    ASSERT_FALSE(pool);
    EXPECT_THAT(pool.error().message, HasSubstr("available"));
    EXPECT_THAT(pool.error().message, HasSubstr("make [pool] memory smaller"));
    EXPECT_FALSE(AreaPool::exists(run_dir).value());
    EXPECT_FALSE(fs::exists(run_dir / "areas"));
  });
}

TEST(AreaPool, RemoveIsIdempotentAndFindsWhatACrashedDaemonLeft) {
  as_root_and_as_user([](const fs::path& run_dir) {
    EXPECT_TRUE(AreaPool::remove(run_dir));
    Loop loop;
    fs::path file;
    {
      auto pool = AreaPool::create(RunDir::config(), run_dir, 2, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      file = (*pool)->path({0});
    }
    EXPECT_TRUE(AreaPool::remove(run_dir));
    EXPECT_FALSE(fs::exists(file.parent_path()));
    EXPECT_TRUE(AreaPool::remove(run_dir));
    EXPECT_FALSE(AreaPool::exists(run_dir).value());
  });
}

TEST(AreaPool, RemoveWorksWhileSomebodyStillHoldsAnArea) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    auto pool = AreaPool::create(RunDir::config(), run_dir, 2, loop.context, loop.sink());
    ASSERT_TRUE(pool) << pool.error().message;
    const fs::path directory = (*pool)->path({0}).parent_path();
    auto removed = AreaPool::remove(run_dir);  // the pool's own descriptors are open
    EXPECT_TRUE(removed) << removed.error().message;
    EXPECT_FALSE(fs::exists(directory));
  });
}

TEST(AreaPool, RemoveKeepsItsHandsOffWhatIsNoArea) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    fs::path stranger;
    {
      auto pool = AreaPool::create(RunDir::config(false), run_dir, 1, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      stranger = (*pool)->path({0}).parent_path() / "notes.txt";
      std::ofstream(stranger) << "";
    }
    auto removed = AreaPool::remove(run_dir);
    ASSERT_FALSE(removed);
    EXPECT_THAT(removed.error().message, HasSubstr("notes.txt"));
    EXPECT_TRUE(fs::exists(stranger));
    fs::remove(stranger);
    EXPECT_TRUE(AreaPool::remove(run_dir));
  });
}

// In a place that everybody can write to; as root, too.
config::Pool in_shared_memory() {
  config::Pool pool = RunDir::config();
  pool.directory = "/dev/shm";
  return pool;
}

TEST(AreaPool, ItsNameInASharedPlaceIsDrawn) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    std::set<fs::path> names;
    for (int i = 0; i < 2; ++i) {
      auto pool = AreaPool::create(in_shared_memory(), run_dir, 1, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      names.insert((*pool)->path({0}).parent_path());
      ASSERT_TRUE(AreaPool::remove(run_dir));
      EXPECT_FALSE(fs::exists(*names.rbegin()));
    }
    EXPECT_EQ(names.size(), 2U);
  });
}

// A later daemon was told the name; somebody else has made the directory since, after a restart of the host.
TEST(AreaPool, WhatSomebodyElseHasMadeUnderItsNameIsNotOurs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: acts for two users";
  const RunDir dir;
  Loop loop;
  fs::path place;
  {
    auto pool = AreaPool::create(in_shared_memory(), dir.path, 1, loop.context, loop.sink());
    ASSERT_TRUE(pool) << pool.error().message;
    place = (*pool)->path({0}).parent_path();
  }
  ASSERT_EQ(::chown(place.c_str(), kNobody, kNobody), 0);
  const auto reopened = AreaPool::reopen(in_shared_memory(), dir.path, 1, loop.context, loop.sink());
  ASSERT_FALSE(reopened);
  EXPECT_THAT(reopened.error().message, HasSubstr("are gone"));
  EXPECT_THAT(reopened.error().message, HasSubstr(place.string() + " is there, but it belongs to uid 65534"));
  EXPECT_FALSE(AreaPool::exists(dir.path).value());
  EXPECT_TRUE(AreaPool::remove(dir.path)) << "it stops nothing";
  EXPECT_TRUE(fs::exists(place / "area-0000"));
  auto pool = AreaPool::create(in_shared_memory(), dir.path, 1, loop.context, loop.sink());
  EXPECT_TRUE(pool) << pool.error().message;
  fs::remove_all(place);
  fs::create_directory_symlink("/tmp", place);
  EXPECT_FALSE(place_exists({Place::Kind::subdirectory, place}));
  fs::remove(place);
}

TEST(AreaPool, IsNotMadeWhereSomebodyElseCouldExchangeIt) {
  const fs::path open = "/dev/shm/us-open-to-all";
  fs::create_directory(open);
  fs::permissions(open, fs::perms::all);
  const RunDir dir;
  Loop loop;
  config::Pool config = RunDir::config();
  config.directory = open;
  const auto pool = AreaPool::create(config, dir.path, 1, loop.context, loop.sink());
  EXPECT_FALSE(pool);
  EXPECT_THAT(pool ? "" : pool.error().message, HasSubstr("could exchange what is in " + open.string()));
  fs::remove(open);
}

// A version that computed the name wrote two lines.
TEST(AreaPool, ThatOfAVersionWhichComputedItsNameIsFound) {
  as_root_and_as_user([](const fs::path& run_dir) {
    Loop loop;
    fs::path drawn;
    {
      auto pool = AreaPool::create(in_shared_memory(), run_dir, 2, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      drawn = (*pool)->path({0}).parent_path();
    }
    std::ofstream(run_dir / kPoolFile) << "tmpfs\n/dev/shm\n";
    const auto former = remembered(run_dir);
    ASSERT_TRUE(former);
    const fs::path computed = places(*former, run_dir, false)[0].path;
    EXPECT_THAT(computed.string(), HasSubstr("/dev/shm/understudy-" + run_dir.filename().string() + "-"));
    fs::rename(drawn, computed);
    EXPECT_TRUE(AreaPool::reopen(in_shared_memory(), run_dir, 2, loop.context, loop.sink()));
    EXPECT_TRUE(AreaPool::remove(run_dir));
    EXPECT_FALSE(fs::exists(computed));
  });
}

TEST(AreaPool, AConfiguredDirectoryMustBeMemory) {
  const RunDir dir;
  Loop loop;
  config::Pool config = RunDir::config();
  config.directory = "/proc";
  auto pool = AreaPool::create(config, dir.path, 1, loop.context, loop.sink());
  ASSERT_FALSE(pool);
  EXPECT_THAT(pool.error().message, HasSubstr("is not on a tmpfs"));
  config.directory = "/dev/shm";
  pool = AreaPool::create(config, dir.path, 1, loop.context, loop.sink());
  ASSERT_TRUE(pool) << pool.error().message;
  EXPECT_EQ((*pool)->path({0}).parent_path().parent_path(), "/dev/shm");
  EXPECT_TRUE(AreaPool::remove(dir.path));
}

TEST(AreaPool, ScrubZeroesEveryByteOfThatAreaAndNoOther) {
  as_root_and_as_user([](const fs::path& run_dir) {
    for (const bool reserve : {true, false}) {
      Loop loop;
      auto pool = AreaPool::create(RunDir::config(reserve), run_dir, 3, loop.context, loop.sink());
      ASSERT_TRUE(pool) << pool.error().message;
      const std::string full(4_MiB, 'S');
      for (std::uint32_t i = 0; i < 3; ++i) write_at((*pool)->path({i}), 0, full);
      (*pool)->scrub({1});
      EXPECT_TRUE(loop.events.empty()) << "the answer came from inside the request";
      loop.await_event();
      ASSERT_TRUE(std::holds_alternative<core::event::AreaScrubbed>(loop.events.at(0)));
      EXPECT_EQ(std::get<core::event::AreaScrubbed>(loop.events[0]).area, core::AreaId{1});
      EXPECT_EQ(read_at((*pool)->path({1}), 0, 4_MiB), std::string(4_MiB, '\0'));
      EXPECT_EQ(read_at((*pool)->path({0}), 0, 4_MiB), full);
      EXPECT_EQ(read_at((*pool)->path({2}), 0, 4_MiB), full);
      // A reserved area never gives its memory back.
      EXPECT_EQ((*pool)->allocated_bytes(), reserve ? 12_MiB : 8_MiB);
      pool->reset();
      ASSERT_TRUE(AreaPool::remove(run_dir));
    }
  });
}

TEST(AreaPool, ScrubsInTheOrderAskedAndAnswersEach) {
  const RunDir dir;
  Loop loop;
  auto pool = AreaPool::create(RunDir::config(), dir.path, 4, loop.context, loop.sink());
  ASSERT_TRUE(pool) << pool.error().message;
  for (const std::uint32_t i : {2u, 0u, 3u}) (*pool)->scrub({i});
  while (loop.events.size() < 3) ASSERT_NO_FATAL_FAILURE(loop.await_event());
  EXPECT_EQ(std::get<core::event::AreaScrubbed>(loop.events[0]).area.value, 2u);
  EXPECT_EQ(std::get<core::event::AreaScrubbed>(loop.events[1]).area.value, 0u);
  EXPECT_EQ(std::get<core::event::AreaScrubbed>(loop.events[2]).area.value, 3u);
}

TEST(AreaPool, AScrubThatCannotBeDoneSaysWhy) {
  const RunDir dir;
  Loop loop;
  auto pool = AreaPool::create(RunDir::config(true), dir.path, 1, loop.context, loop.sink());
  ASSERT_TRUE(pool) << pool.error().message;
  // A file that was cut (by a hand at 3 a.m.) and may not grow again.
  ASSERT_EQ(::truncate((*pool)->path({0}).c_str(), 0), 0);
  const rlimit small{1_MiB, RLIM_INFINITY};
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  (*pool)->scrub({0});
  loop.await_event();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(std::holds_alternative<core::event::ScrubFailed>(loop.events.at(0)));
  EXPECT_THAT(std::get<core::event::ScrubFailed>(loop.events[0]).why, HasSubstr("cannot scrub"));
}

TEST(AreaPool, ADestroyedPoolDeliversNothing) {
  const RunDir dir;
  Loop loop;
  auto pool = AreaPool::create(RunDir::config(), dir.path, 1, loop.context, loop.sink());
  ASSERT_TRUE(pool) << pool.error().message;
  (*pool)->scrub({0});
  pool->reset();
  loop.context.poll();
  EXPECT_TRUE(loop.events.empty());
}

// A hugetlbfs mount and as many huge pages as the test needs, given back afterwards.
struct HugePages {
  explicit HugePages(int wanted) {
    std::ifstream(kCount) >> before;
    std::ofstream(kCount) << before + wanted;
    int now = 0;
    std::ifstream(kCount) >> now;
    std::string name = (fs::temp_directory_path() / "us-huge-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path = name;
    usable = now >= before + wanted && ::mount("none", path.c_str(), "hugetlbfs", 0, "pagesize=2M") == 0;
  }
  ~HugePages() {
    ::umount(path.c_str());
    fs::remove(path);
    std::ofstream(kCount) << before;
  }
  static constexpr const char* kCount = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
  int before = 0;
  bool usable = false;
  fs::path path;
};

TEST(AreaPool, UsesHugePagesOfAConfiguredMount) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts a hugetlbfs";
  const HugePages huge(8);
  if (!huge.usable) GTEST_SKIP() << "this host gives no huge pages";
  const RunDir dir;
  Loop loop;
  config::Pool config = RunDir::config();
  config.backing = config::Backing::hugetlbfs;
  config.directory = huge.path;
  auto pool = AreaPool::create(config, dir.path, 4, loop.context, loop.sink());
  ASSERT_TRUE(pool) << pool.error().message;
  EXPECT_EQ((*pool)->allocated_bytes(), 16_MiB);
  (*pool)->scrub({3});
  loop.await_event();
  EXPECT_TRUE(std::holds_alternative<core::event::AreaScrubbed>(loop.events.at(0)));
  EXPECT_EQ((*pool)->allocated_bytes(), 16_MiB);
  pool->reset();
  const RunDir second;
  auto more = AreaPool::create(config, second.path, 400'000, loop.context, loop.sink());
  ASSERT_FALSE(more);
  EXPECT_THAT(more.error().message, HasSubstr("of huge pages, but only"));
  auto odd = config;
  odd.area_bytes = 3_MiB;
  auto refused = AreaPool::create(odd, second.path, 1, loop.context, loop.sink());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("is not a multiple of the 2 MiB pages"));
  EXPECT_TRUE(AreaPool::remove(dir.path));
  EXPECT_TRUE(AreaPool::remove(second.path));
  EXPECT_TRUE(fs::is_empty(huge.path));
}

TEST(HostMemory, ReadsMemAvailable) {
  EXPECT_EQ(parse_mem_available("MemTotal: 5 kB\nMemAvailable:   1024 kB\n").value(), 1_MiB);
  EXPECT_FALSE(parse_mem_available("MemTotal: 5 kB\n"));
  EXPECT_FALSE(parse_mem_available("MemAvailable:"));
  EXPECT_FALSE(parse_mem_available("MemAvailable: lots\n"));
}

TEST(PoolDirectory, TellsAreasFromOtherFiles) {
  EXPECT_EQ(area_file_name({7}), "area-0007");
  EXPECT_EQ(area_file_name({12345}), "area-12345");
  EXPECT_TRUE(is_area_file_name("area-0007"));
  EXPECT_TRUE(is_area_file_name("area-12345"));
  for (const char* name : {"area-", "area-7", "area-00x7", "area-0007~", "Area-0007", "area-00000000007"})
    EXPECT_FALSE(is_area_file_name(name)) << name;
}

TEST(PoolDirectory, RootMountsItsOwnWhereItCan) {
  const Remembered what{RunDir::config(), "understudy-0"};
  const auto root = places(what, "/run/understudy", true);
  ASSERT_EQ(root.size(), 2u);
  EXPECT_EQ(root[0].kind, Place::Kind::private_tmpfs);
  EXPECT_EQ(root[0].path, "/run/understudy/areas");
  EXPECT_EQ(root[1].path, "/dev/shm/understudy-0");
}

}  // namespace
}  // namespace understudy::pool

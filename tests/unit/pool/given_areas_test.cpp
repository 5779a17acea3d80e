// What a QEMU can do to the areas that it has, and that nobody after it notices.
#include "pool_fixture.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

namespace understudy::pool {
namespace {

namespace fs = std::filesystem;
using test::Loop;
using test::RunDir;
using testing::HasSubstr;

constexpr gid_t kGuest = 65531;
constexpr gid_t kOtherGuest = 65532;

// Two areas on a tmpfs without room for more.
class GivenAreas : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives areas to other users";
    open(AreaPool::create(RunDir::config(), dir.path, 2, loop.context, loop.sink()));
  }
  void open(Result<std::unique_ptr<AreaPool>> made) {
    ASSERT_TRUE(made) << made.error().message;
    pool = std::move(*made);
    ASSERT_TRUE(pool->open_to_users());
    pool->on_repair([this](core::AreaId area, const AreaFile::Repair& repair) {
      repaired.push_back(std::to_string(area.value) + ": " + repair_text(repair));
    });
  }
  // As a QEMU of that guest, with the area open, if it may. The status that it ends with.
  int as_guest(gid_t guest, core::AreaId area, const std::function<int(int fd)>& act) const {
    const fs::path file = pool->path(area);
    // The run directory is closed to it; it gets the areas' directory by descriptor.
    const UniqueFd directory(::open(file.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setgroups(0, nullptr) != 0 || ::setgid(guest) != 0 || ::setuid(guest) != 0) ::_exit(100);
      const int fd = ::openat(directory.get(), file.filename().c_str(), O_RDWR);
      ::_exit(fd < 0 ? 101 : act(fd));
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 102;
  }
  [[nodiscard]] struct stat of(core::AreaId area) const {
    struct stat info {};
    EXPECT_EQ(::stat(pool->path(area).c_str(), &info), 0);
    return info;
  }
  // What is put right beside the loop is said on it.
  void await_repairs(std::size_t count) {
    while (repaired.size() < count && loop.context.run_one_for(std::chrono::seconds(20)) != 0) {
    }
    ASSERT_EQ(repaired.size(), count);
  }
  void expect_whole(core::AreaId area) const {
    EXPECT_EQ(of(area).st_size, 4 << 20);
    EXPECT_EQ(of(area).st_blocks * 512, 4 << 20);
    EXPECT_EQ(of(area).st_uid, 0U);
  }

  const core::AreaId a{0};
  const core::AreaId b{1};
  const RunDir dir;
  Loop loop;
  std::unique_ptr<AreaPool> pool;
  std::vector<std::string> repaired;
};

TEST_F(GivenAreas, AGuestOpensItsOwnAndNoOther) {
  ASSERT_TRUE(pool->give(a, kGuest));
  ASSERT_TRUE(pool->give(b, kOtherGuest));
  const auto nothing = [](int) { return 0; };
  EXPECT_EQ(as_guest(kGuest, a, nothing), 0);
  EXPECT_EQ(as_guest(kGuest, b, nothing), 101);
  pool->take_back(a, kOtherGuest);
  EXPECT_EQ(as_guest(kGuest, a, nothing), 0) << "not from that one";
  pool->take_back(a, kGuest);
  EXPECT_EQ(as_guest(kGuest, a, nothing), 101);
  EXPECT_TRUE(repaired.empty());
}

TEST_F(GivenAreas, ItCanNeitherOpenThemToOthersNorGiveThemAway) {
  ASSERT_TRUE(pool->give(a, kGuest));
  EXPECT_EQ(as_guest(kGuest, a,
                     [](int fd) {
                       // "everybody may read and write", as the kernel keeps an ACL
                       const unsigned char all[] = {2,   0,   0, 0, 1,   0,   6,   0,   255, 255,
                                                    255, 255, 4, 0, 6,   0,   255, 255, 255, 255,
                                                    32,  0,   6, 0, 255, 255, 255, 255};
                       if (::fchmod(fd, 0666) == 0) return 1;
                       if (::fchown(fd, kOtherGuest, kOtherGuest) == 0) return 2;
                       return ::fsetxattr(fd, "system.posix_acl_access", all, sizeof all, 0) == 0 ? 3 : 0;
                     }),
            0);
  EXPECT_EQ(as_guest(kOtherGuest, a, [](int) { return 0; }), 101);
}

TEST_F(GivenAreas, AnotherSizeIsPutRight) {
  for (const off_t size : {off_t{0}, off_t{1} << 20, off_t{64} << 20}) {
    ASSERT_TRUE(pool->give(a, kGuest));
    ASSERT_EQ(as_guest(kGuest, a, [size](int fd) { return ::ftruncate(fd, size); }), 0);
    pool->take_back(a, kGuest);
    await_repairs(size < 4 << 20 ? 2 : 1);  // what was cut off is memory given back
    expect_whole(a);
    EXPECT_EQ(repaired[0].find("0: its size was " + std::to_string(size) + " bytes, not 4194304; "), 0U);
    repaired.clear();
  }
}

// One gives memory back, another takes it for what is its own; a third would end for lack of it.
TEST_F(GivenAreas, MemoryThatWasGivenBackAndTakenByAnotherIsHadAgain) {
  if (pool->path(a).string().starts_with("/dev/shm"))
    GTEST_SKIP() << "this root may not mount: what one gives back is not what the other takes";
  for (const int mode : {0, FALLOC_FL_KEEP_SIZE}) {
    ASSERT_TRUE(pool->give(a, kGuest));
    ASSERT_TRUE(pool->give(b, kOtherGuest));
    const auto punches = [](int fd) {
      return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 2 << 20);
    };
    const auto takes = [mode](int fd) { return ::fallocate(fd, mode, 4 << 20, 2 << 20); };
    ASSERT_EQ(as_guest(kGuest, a, punches), 0);
    ASSERT_EQ(as_guest(kOtherGuest, b, takes), 0);
    pool->take_back(a, kGuest);
    // The other is cut, too; whether that is said, and when, is left open here.
    const std::string again = "0: part of its memory had been given back to the host; put right";
    while (std::find(repaired.begin(), repaired.end(), again) == repaired.end() && !HasFatalFailure())
      await_repairs(repaired.size() + 1);
    expect_whole(a);
    expect_whole(b);
    pool->take_back(b, kOtherGuest);
    repaired.clear();
  }
}

// The memory in it is as much as before, and not where it belongs.
TEST_F(GivenAreas, AHoleIsSeenBesideMemoryBehindTheEnd) {
  ASSERT_TRUE(pool->give(a, kGuest));
  ASSERT_EQ(as_guest(kGuest, a,
                     [](int fd) {
                       return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 << 20) +
                              ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 4 << 20, 2 << 20);
                     }),
            0);
  pool->take_back(a, kGuest);
  await_repairs(1);
  expect_whole(a);
  EXPECT_THAT(repaired[0], HasSubstr("it had memory behind its end; part of its memory"));
}

TEST_F(GivenAreas, WhatAVersionGaveAwayIsTakenBackWithItsModeAndItsAcl) {
  ASSERT_EQ(::chown(pool->path(a).c_str(), kGuest, kGuest), 0);
  ASSERT_EQ(::chmod(pool->path(a).c_str(), 0666), 0);
  const unsigned char named[] = {2, 0,    0,    0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  6,
                                 0, 0xFC, 0xFF, 0,   0,   4,   0,  6, 0,   255, 255, 255, 255, 16, 0,
                                 6, 0,    255,  255, 255, 255, 32, 0, 6,   0,   255, 255, 255, 255};
  if (::setxattr(pool->path(a).c_str(), "system.posix_acl_access", named, sizeof named, 0) != 0)
    GTEST_SKIP() << "this kernel's tmpfs has no ACLs";
  pool->take_back(a, kGuest);
  EXPECT_EQ(of(a).st_mode & 07777, 0600U);
  EXPECT_EQ(of(a).st_uid, 0U);
  EXPECT_EQ(::getxattr(pool->path(a).c_str(), "system.posix_acl_access", nullptr, 0), -1);
  EXPECT_EQ(as_guest(kOtherGuest, a, [](int) { return 0; }), 101);
  EXPECT_FALSE(repaired.empty());
}

TEST_F(GivenAreas, TheNextDaemonPutsThemRightToo) {
  ASSERT_TRUE(pool->give(a, kGuest));
  ASSERT_TRUE(pool->give(b, kOtherGuest));
  ASSERT_EQ(as_guest(kGuest, a, [](int fd) { return ::ftruncate(fd, 12345); }), 0);
  pool.reset();
  open(AreaPool::reopen(RunDir::config(), dir.path, 2, loop.context, loop.sink()));
  expect_whole(a);
  ASSERT_FALSE(repaired.empty());
  EXPECT_EQ(repaired[0],
            "0: its size was 12345 bytes, not 4194304; part of its memory had been given back to the host; "
            "put right");
  pool->take_back_except({kOtherGuest});
  EXPECT_EQ(of(a).st_gid, 0U);
  EXPECT_EQ(of(b).st_gid, kOtherGuest);
}

// Its mode is one thing, and what it has been given another: it may be an area of a guest whose QEMU was the
// daemon's user, which no living one says anything about.
TEST_F(GivenAreas, AQemuThatRunsAsTheDaemonHoldsNoneOfAnother) {
  ASSERT_TRUE(pool->give(a, kGuest));
  pool->take_back_except({0});
  EXPECT_EQ(of(a).st_gid, 0U);
  EXPECT_EQ(of(a).st_mode & 07777, 0600U);
}

TEST_F(GivenAreas, WhatASecurityModuleHasSetIsTheHosts) {
  ASSERT_TRUE(pool->give(a, kGuest));
  if (::setxattr(pool->path(a).c_str(), "security.understudy_test", "x", 1, 0) != 0)
    GTEST_SKIP() << "this kernel's tmpfs has no such attributes";
  pool->take_back(a, kGuest);
  char value = 0;
  EXPECT_EQ(::getxattr(pool->path(a).c_str(), "security.understudy_test", &value, 1), 1);
  EXPECT_TRUE(repaired.empty());
}

// A daemon that refused would leave every guest without one.
TEST_F(GivenAreas, MemoryThatTheHostDoesNotHaveAnyMoreIsSaidAndStopsNoDaemon) {
  const fs::path place = pool->path(a).parent_path();
  if (!pool->description().starts_with("private tmpfs")) GTEST_SKIP() << "this root may not mount";
  ASSERT_TRUE(pool->give(a, kGuest));
  ASSERT_EQ(as_guest(kGuest, a,
                     [](int fd) {
                       return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 << 20);
                     }),
            0);
  pool.reset();
  ASSERT_EQ(::mount("none", place.c_str(), nullptr, MS_REMOUNT, "size=6m"), 0);
  open(AreaPool::reopen(RunDir::config(), dir.path, 2, loop.context, loop.sink()));
  ASSERT_EQ(repaired.size(), 1U);
  EXPECT_THAT(repaired[0], HasSubstr("that memory cannot be had again: No space left on device"));
  ASSERT_EQ(::mount("none", place.c_str(), nullptr, MS_REMOUNT, "size=8m"), 0);
  pool->take_back(a, kGuest);
  await_repairs(2);
  expect_whole(a);
}

}  // namespace
}  // namespace understudy::pool

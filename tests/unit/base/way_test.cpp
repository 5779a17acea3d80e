#include "base/way.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace understudy {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr uid_t kStranger = 65533;

class WayTest : public ::testing::Test {
 protected:
  WayTest() {
    std::string name = (fs::temp_directory_path() / "way-XXXXXX").string();
    base_ = ::mkdtemp(name.data());
    fs::create_directories(base_ / "a" / "b");
  }
  ~WayTest() override {
    std::error_code ignored;
    fs::remove_all(base_, ignored);
  }
  static void mode(const fs::path& path, mode_t mode) { ASSERT_EQ(::chmod(path.c_str(), mode), 0); }
  static void give_away(const fs::path& path) { ASSERT_EQ(::lchown(path.c_str(), kStranger, kStranger), 0); }
  static std::string refused(const fs::path& path) {
    const auto opened = open_ours(path);
    return opened ? "it was opened" : opened.error().message;
  }
  // Whether it is the very directory.
  static void expect_ours(const fs::path& path, const fs::path& real) {
    const auto opened = open_ours(path);
    ASSERT_TRUE(opened) << opened.error().message;
    struct stat found {};
    struct stat expected {};
    ASSERT_EQ(::fstat(opened->get(), &found), 0);
    ASSERT_EQ(::stat(real.c_str(), &expected), 0);
    EXPECT_EQ(found.st_ino, expected.st_ino);
    EXPECT_EQ(found.st_dev, expected.st_dev);
  }

  fs::path base_;
};

TEST_F(WayTest, ADirectoryOfOursBelowAStickyOneIsOurs) {
  expect_ours(base_ / "a" / "b", base_ / "a" / "b");
  expect_ours(base_ / "a" / ".." / "a" / "." / "b", base_ / "a" / "b");
}

TEST_F(WayTest, AnAbsentOneIsAnError) {
  EXPECT_THAT(refused(base_ / "none"), HasSubstr("No such file"));
}

TEST_F(WayTest, AFileIsNoDirectory) {
  fs::create_symlink("/etc/passwd", base_ / "a" / "file");
  EXPECT_THAT(refused(base_ / "a" / "file"), HasSubstr("no directory"));
}

TEST_F(WayTest, OneThatOthersCanWriteToIsNot) {
  mode(base_ / "a" / "b", 0777);
  EXPECT_THAT(refused(base_ / "a" / "b"), HasSubstr("not this user's alone"));
  mode(base_ / "a" / "b", 01777);
  EXPECT_THAT(refused(base_ / "a" / "b"), HasSubstr("not this user's alone"));
  EXPECT_TRUE(check_way_to(base_ / "a" / "b")) << "but what we make in it stays ours";
}

TEST_F(WayTest, NorOneBelowADirectoryInWhichOthersCanExchangeIt) {
  mode(base_ / "a", 0777);
  EXPECT_THAT(refused(base_ / "a" / "b"), HasSubstr("could exchange what is in " + (base_ / "a").string()));
  EXPECT_FALSE(check_way_to(base_ / "a"));
  mode(base_ / "a", 01777);
  expect_ours(base_ / "a" / "b", base_ / "a" / "b");
}

TEST_F(WayTest, AnOwnGroupMayWriteAndAnyOtherMayNot) {
  ASSERT_EQ(::chown((base_ / "a").c_str(), ::geteuid(), static_cast<gid_t>(::geteuid())), 0);
  mode(base_ / "a", 0775);
  expect_ours(base_ / "a" / "b", base_ / "a" / "b");
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a directory to another group";
  ASSERT_EQ(::chown((base_ / "a").c_str(), 0, kStranger), 0);
  EXPECT_THAT(refused(base_ / "a" / "b"), HasSubstr("could exchange"));
}

TEST_F(WayTest, ALinkOfOursIsFollowedToWhereItLeads) {
  fs::create_symlink("a", base_ / "link");
  fs::create_symlink(base_ / "link", base_ / "a" / "round");
  expect_ours(base_ / "link" / "b", base_ / "a" / "b");
  expect_ours(base_ / "a" / "round" / "b", base_ / "a" / "b");
  fs::create_symlink("self", base_ / "self");
  EXPECT_THAT(refused(base_ / "self"), HasSubstr("too many links"));
}

TEST_F(WayTest, WhatAStrangerOwnsIsNotOursAnywhereOnTheWay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives things away";
  fs::create_directories(base_ / "his" / "mine");
  give_away(base_ / "his");
  EXPECT_THAT(refused(base_ / "his"), HasSubstr("not this user's alone"));
  EXPECT_THAT(refused(base_ / "his" / "mine"), HasSubstr("could exchange what is in"));
  mode(base_ / "his", 01755);
  EXPECT_THAT(refused(base_ / "his" / "mine"), HasSubstr("could exchange what is in"))
      << "a sticky bit does not hold its owner";
  mode(base_, 01777);
  fs::create_symlink("a", base_ / "link");
  give_away(base_ / "link");
  EXPECT_THAT(refused(base_ / "link" / "b"), HasSubstr("a link of somebody else"));
  EXPECT_FALSE(check_way_to(base_ / "link"));
}

}  // namespace
}  // namespace understudy

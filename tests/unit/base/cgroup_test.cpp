#include "base/cgroup.hpp"

#include "base/kernel_files.hpp"
#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace understudy {
namespace {

using testing::HasSubstr;

// Directories that look like cgroups to whoever looks for a delegated one.
struct DelegatedCgroupTest : testing::Test {
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "us-base-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    top = name;
  }
  void TearDown() override { std::filesystem::remove_all(top); }

  std::string group(const std::string& path, const std::string& controllers = "cpu memory pids\n") const {
    const std::string directory = top + "/" + path;
    std::filesystem::create_directories(directory);
    std::ofstream(directory + "/cgroup.procs").flush();
    std::ofstream(directory + "/cgroup.subtree_control").flush();
    std::ofstream(directory + "/cgroup.controllers") << controllers;
    return directory;
  }
  static bool mark(const std::string& directory, const std::string& value = "1") {
    return ::setxattr(directory.c_str(), "user.delegate", value.data(), value.size(), 0) == 0;
  }

  std::string top;
};

TEST_F(DelegatedCgroupTest, IsTheOneThatIsMarked) {
  const std::string own = group("system.slice/understudy.service");
  if (!mark(own)) GTEST_SKIP() << "this file system has no extended attributes";
  const auto found = delegated_cgroup_above(own);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, own);
  EXPECT_EQ(cgroup_words(found), "each QEMU has a control group of its own in " + own);
}

TEST_F(DelegatedCgroupTest, IsTheOneAboveThePartThatWeWerePutInto) {
  const std::string unit = group("understudy.service");
  if (!mark(unit)) GTEST_SKIP() << "this file system has no extended attributes";
  EXPECT_EQ(delegated_cgroup_above(group("understudy.service/understudy")).value_or(""), unit);
  EXPECT_EQ(delegated_cgroup_above(group("understudy.service/by/hand")).value_or(""), unit);
}

TEST_F(DelegatedCgroupTest, WhatWasDelegatedToAManagerIsNotOurs) {
  const std::string manager = group("user@1000.service");
  if (!mark(manager)) GTEST_SKIP() << "this file system has no extended attributes";
  const auto found = delegated_cgroup_above(group("user@1000.service/app.slice/terminal.scope"));
  ASSERT_FALSE(found);
  EXPECT_THAT(cgroup_words(found),
              HasSubstr("no control groups of their own: no control group was delegated"));
}

TEST_F(DelegatedCgroupTest, AnotherMarkIsNone) {
  const std::string own = group("understudy.service");
  EXPECT_FALSE(delegated_cgroup_above(own));
  if (!mark(own, "0")) GTEST_SKIP() << "this file system has no extended attributes";
  EXPECT_FALSE(delegated_cgroup_above(own));
  ASSERT_TRUE(mark(own, "10"));
  EXPECT_FALSE(delegated_cgroup_above(own));
}

TEST_F(DelegatedCgroupTest, NeedsBothControllers) {
  const std::string own = group("understudy.service", "cpu memory\n");
  if (!mark(own)) GTEST_SKIP() << "this file system has no extended attributes";
  const auto found = delegated_cgroup_above(own);
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("without the controllers memory and pids"));
  const std::string other = group("other.service", "pids\n");
  ASSERT_TRUE(mark(other));
  EXPECT_FALSE(delegated_cgroup_above(other));
}

TEST_F(DelegatedCgroupTest, HasToBeWritable) {
  const std::string own = group("understudy.service");
  if (!mark(own)) GTEST_SKIP() << "this file system has no extended attributes";
  ASSERT_TRUE(std::filesystem::remove(own + "/cgroup.subtree_control"));
  const auto found = delegated_cgroup_above(own);
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("cannot be written to"));
}

// In the real hierarchy, where this user may make cgroups.
struct CgroupForkTest : testing::Test {
  void SetUp() override {
    const auto own = cgroup_of(::getpid());
    if (!own) GTEST_SKIP() << "no cgroup v2";
    directory = *own + "/us-base-" + std::to_string(::getpid());
    if (::mkdir(directory.c_str(), 0755) != 0) GTEST_SKIP() << "no cgroup can be made in " << *own;
    fd = UniqueFd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override {
    if (!directory.empty()) ::rmdir(directory.c_str());
  }
  std::string directory;
  UniqueFd fd;
};

TEST_F(CgroupForkTest, TheChildIsInsideAtOnce) {
  bool inside = false;
  const pid_t pid = fork_into_cgroup(fd.get(), inside);
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  ASSERT_GT(pid, 0);
  EXPECT_TRUE(inside);
  EXPECT_EQ(cgroup_of(pid).value_or(""), directory);
  EXPECT_EQ(read_file(directory + "/cgroup.procs").value_or(""), std::to_string(pid) + "\n");
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

TEST_F(CgroupForkTest, WithoutOneItIsAPlainFork) {
  bool inside = true;
  const pid_t pid = fork_into_cgroup(-1, inside);
  if (pid == 0) ::_exit(0);
  ASSERT_GT(pid, 0);
  EXPECT_FALSE(inside);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace understudy

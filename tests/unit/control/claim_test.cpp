// A free choice of run directory never costs anybody a file, or its mode.
#include "control/claim.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

namespace understudy::control {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ClaimTest : public ::testing::Test {
 protected:
  ClaimTest() {
    std::string name = (fs::temp_directory_path() / "claim-XXXXXX").string();
    base_ = ::mkdtemp(name.data());
    dir_ = base_ / "run";
  }
  ~ClaimTest() override {
    std::error_code ignored;
    fs::remove_all(base_, ignored);
  }
  static void write(const fs::path& file, const std::string& text = "somebody's\n") {
    std::ofstream(file) << text;
  }
  static mode_t mode_of(const fs::path& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0);
    return info.st_mode & 07777U;
  }
  void make(mode_t mode) {
    fs::create_directory(dir_);
    ASSERT_EQ(::chmod(dir_.c_str(), mode), 0);
  }
  // Refused, and nothing is otherwise than it was.
  std::string refused() {
    const mode_t mode = mode_of(dir_);
    const auto count = std::distance(fs::directory_iterator(dir_), fs::directory_iterator());
    const auto claimed = claim(dir_);
    EXPECT_FALSE(claimed);
    EXPECT_FALSE(check_claimed(dir_));
    EXPECT_EQ(mode_of(dir_), mode);
    EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), count);
    return claimed ? "" : claimed.error().message;
  }

  fs::path base_;
  fs::path dir_;
};

TEST_F(ClaimTest, ANewDirectoryIsMadeForUsAloneAndGoesWithAllThatWasMadeForIt) {
  const fs::path deep = dir_ / "of" / "ours";
  const auto claimed = claim(deep);
  ASSERT_TRUE(claimed) << claimed.error().message;
  EXPECT_TRUE(*claimed);
  EXPECT_EQ(mode_of(deep), 0700U);
  EXPECT_TRUE(check_claimed(deep));
  EXPECT_EQ(claim(deep).value(), false) << "claimed once";
  EXPECT_TRUE(unclaim(deep));
  EXPECT_FALSE(fs::exists(dir_));
  EXPECT_TRUE(fs::exists(base_));
}

TEST_F(ClaimTest, AnEmptyDirectoryIsClaimedAndStaysWithItsMode) {
  make(0755);
  EXPECT_EQ(claim(dir_).value(), true);
  EXPECT_EQ(mode_of(dir_), 0755U);
  EXPECT_TRUE(unclaim(dir_));
  EXPECT_TRUE(fs::is_empty(dir_)) << "it was somebody's, and it is as it was";
  EXPECT_EQ(mode_of(dir_), 0755U);
}

TEST_F(ClaimTest, ADirectoryWithSomebodysDiskImageIsLeftAlone) {
  make(0750);
  write(dir_ / "disk.qcow2");
  EXPECT_THAT(refused(), HasSubstr("disk.qcow2; nothing was touched"));
}

TEST_F(ClaimTest, NamesThatOursHaveProveNothing) {
  make(0700);
  for (const char* name : {"journal", "pool", "guests", "lock", "events.jsonl", "understudyd.log"})
    write(dir_ / name);
  EXPECT_THAT(refused(), HasSubstr("and 3 more"));
}

TEST_F(ClaimTest, ADirectoryForEverybodyIsRefusedEvenWhenItIsEmpty) {
  make(01777);  // as /tmp
  EXPECT_THAT(refused(), HasSubstr("mode 1777"));
  ASSERT_EQ(::chmod(dir_.c_str(), 0770), 0);
  EXPECT_THAT(refused(), HasSubstr("mode 0770"));
}

TEST_F(ClaimTest, AMarkerThatIsNotOursIsNone) {
  make(0700);
  write(base_ / "target", "understudy run directory 1\nmade 1\n");
  fs::create_symlink(base_ / "target", dir_ / kClaimFile);
  EXPECT_THAT(refused(), HasSubstr(kClaimFile));
  fs::remove(dir_ / kClaimFile);
  write(dir_ / kClaimFile, "something else");
  (void)refused();
  fs::remove(dir_ / kClaimFile);
  fs::create_directory(dir_ / kClaimFile);
  (void)refused();
  if (::geteuid() != 0) return;
  fs::remove(dir_ / kClaimFile);
  fs::copy_file(base_ / "target", dir_ / kClaimFile);
  ASSERT_EQ(::chown((dir_ / kClaimFile).c_str(), 12345, 12345), 0);
  (void)refused();
}

// Its owner puts links in place of the files that root writes, and takes its sockets away.
TEST_F(ClaimTest, ADirectoryOfSomebodyElseIsNeverRootsWhateverIsInIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a directory away";
  make(0700);
  ASSERT_TRUE(claim(dir_));
  ASSERT_EQ(::chown(dir_.c_str(), 65533, 65533), 0);
  EXPECT_THAT(refused(), HasSubstr("not this user's alone"));
  fs::remove(dir_ / kClaimFile);
  write(dir_ / "journal", "understudy-journal 2\n");
  EXPECT_THAT(refused(), HasSubstr("not this user's alone"));
  fs::remove(dir_ / "journal");
  EXPECT_THAT(refused(), HasSubstr("belongs to uid 65533"));
}

TEST_F(ClaimTest, NothingIsMadeWhereSomebodyElseCouldExchangeIt) {
  make(0777);
  const auto claimed = claim(dir_ / "run");
  ASSERT_FALSE(claimed);
  EXPECT_THAT(claimed.error().message, HasSubstr("could exchange what is in " + dir_.string()));
  EXPECT_FALSE(fs::exists(dir_ / "run"));
  ASSERT_EQ(::chmod(dir_.c_str(), 01777), 0);
  EXPECT_TRUE(claim(dir_ / "run"));
}

TEST_F(ClaimTest, OneWhoseWriterDiedInTheMiddleCounts) {
  make(0700);
  write(dir_ / kClaimFile, "understudy ru");
  EXPECT_EQ(claim(dir_).value(), false);
}

TEST_F(ClaimTest, ADirectoryOfAVersionWithoutMarkersIsKnownByItsJournal) {
  make(0700);
  write(dir_ / "journal", "understudy-journal 1 9c0ffee1\n");
  write(dir_ / "events.jsonl");
  EXPECT_TRUE(check_claimed(dir_));
  EXPECT_EQ(claim(dir_).value(), false);
  EXPECT_TRUE(fs::exists(dir_ / kClaimFile));
}

TEST_F(ClaimTest, WhatIsLeftInItIsNamedAndKeepsIt) {
  ASSERT_TRUE(claim(dir_));
  write(dir_ / "notes.txt");
  const auto left = unclaim(dir_);
  ASSERT_FALSE(left);
  EXPECT_THAT(left.error().message, HasSubstr("notes.txt"));
  EXPECT_TRUE(check_claimed(dir_)) << "to be ended again";
}

TEST_F(ClaimTest, OfTwoThatClaimAtOnceBothHaveIt) {
  for (int round = 0; round < 50; ++round) {
    Result<bool> one = failure("");
    Result<bool> other = failure("");
    std::thread first([&] { one = claim(dir_); });
    std::thread second([&] { other = claim(dir_); });
    first.join();
    second.join();
    ASSERT_TRUE(one) << one.error().message;
    ASSERT_TRUE(other) << other.error().message;
    ASSERT_TRUE(unclaim(dir_));
    fs::remove(dir_);  // made by the one, claimed by the other: nobody of the two made it for sure
  }
}

TEST_F(ClaimTest, WhereItIsInsteadIsSaid) {
  ASSERT_TRUE(claim(dir_));
  ::setenv("UNDERSTUDY_RUN_DIR", dir_.c_str(), 1);
  EXPECT_THAT(where_it_is(base_ / "mistyped"),
              HasSubstr("`understudy --run-dir " + dir_.string() + " down`"));
  EXPECT_THAT(where_it_is(dir_), testing::Not(HasSubstr(dir_.string())));
  ::unsetenv("UNDERSTUDY_RUN_DIR");
}

}  // namespace
}  // namespace understudy::control

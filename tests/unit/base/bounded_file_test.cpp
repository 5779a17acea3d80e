#include "base/bounded_file.hpp"

#include "../small_disk.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

namespace understudy {
namespace {

namespace fs = std::filesystem;

class BoundedFileTest : public ::testing::Test {
 protected:
  BoundedFileTest() {
    std::string name = (fs::temp_directory_path() / "bounded-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
    file_ = dir_ / "lines";
  }
  ~BoundedFileTest() override { fs::remove_all(dir_); }

  fs::path dir_;
  fs::path file_;
};

TEST_F(BoundedFileTest, TenThousandLinesLeaveTwoFilesOfTheirBoundAndTheLatestLines) {
  BoundedFile file(file_, 10'000);
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(file.write("line " + std::to_string(i)), "");
  EXPECT_LE(fs::file_size(file_), 10'000U);
  EXPECT_LE(fs::file_size(BoundedFile::old_of(file_)), 10'000U);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 2);
  const auto lines = last_lines(file_, 900);
  ASSERT_EQ(lines.size(), 900U) << "of both files";
  EXPECT_EQ(lines.back(), "line 9999");
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i], "line " + std::to_string(9100 + i));
}

TEST_F(BoundedFileTest, WhatAFormerWriterLeftTornIsNoPartOfTheNextLine) {
  std::ofstream(file_) << "whole\nto";
  BoundedFile file(file_, 10'000);
  EXPECT_EQ(file.write("next"), "");
  EXPECT_EQ(last_lines(file_, 10), (std::vector<std::string>{"whole", "to", "next"}));
  std::ofstream(file_, std::ios::app) << "being wri";
  EXPECT_EQ(last_lines(file_, 1), std::vector<std::string>{"next"});
}

TEST_F(BoundedFileTest, WithAChoiceWhatIsChosenOfBothFilesIsKeptInTheOlder) {
  const auto even = [](std::vector<std::string> lines, std::uint64_t most_bytes) {
    EXPECT_EQ(most_bytes, 100U);
    std::erase_if(lines, [](const std::string& line) { return (line.back() - '0') % 2 != 0; });
    if (lines.size() > 10) lines.erase(lines.begin() + 5, lines.end() - 5);
    return lines;
  };
  BoundedFile file(file_, 100, even);
  for (int i = 100; i < 200; ++i) ASSERT_EQ(file.write("line " + std::to_string(i)), "");
  const auto lines = last_lines(file_, 900);
  EXPECT_EQ(lines.front(), "line 100");
  EXPECT_EQ(lines.back(), "line 199");
  EXPECT_TRUE(std::is_sorted(lines.begin(), lines.end()));
  EXPECT_LE(fs::file_size(BoundedFile::old_of(file_)), 100U);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 2);
}

TEST_F(BoundedFileTest, WhereWhatIsChosenCannotBeWrittenTheFullFileTakesThePlaceOfTheOlder) {
  fs::create_directories(BoundedFile::fresh_old_of(file_));
  BoundedFile file(file_, 18, [](const auto& lines, std::uint64_t) { return lines; });
  for (const char* line : {"line 1", "line 2", "line 3", "line 4"}) ASSERT_EQ(file.write(line), "");
  EXPECT_EQ(last_lines(file_, 10).size(), 4U);
  for (const char* line : {"line 5", "line 6"}) ASSERT_EQ(file.write(line), "");
  EXPECT_EQ(last_lines(file_, 10), (std::vector<std::string>{"line 3", "line 4", "line 5", "line 6"}));
}

TEST_F(BoundedFileTest, NothingIsWrittenByWayOfALinkOrIntoAPipe) {
  std::ofstream(dir_ / "somebody's") << "data\n";
  fs::create_symlink(dir_ / "somebody's", file_);
  BoundedFile link(file_, 10);
  EXPECT_NE(link.write("a line that is longer than ten bytes"), "");
  EXPECT_EQ(fs::file_size(dir_ / "somebody's"), 5U);
  ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  BoundedFile pipe(dir_ / "pipe", 10'000);  // does not wait for a reader
  EXPECT_NE(pipe.write("a line"), "");
}

TEST_F(BoundedFileTest, ALogOfAnotherProcessIsCutBackAndItsWriterGoesOnAtItsStart) {
  const int writer = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string much = std::string(5000, 'x') + "the end";
  ASSERT_EQ(::write(writer, much.data(), much.size()), static_cast<ssize_t>(much.size()));
  EXPECT_FALSE(cut_back(file_, 5007, 100)) << "it has its bound, and not more";
  EXPECT_TRUE(cut_back(file_, 5000, 100));
  ASSERT_EQ(::write(writer, "next", 4), 4);
  ::close(writer);
  EXPECT_EQ(fs::file_size(file_), 4U);
  EXPECT_EQ(fs::file_size(BoundedFile::old_of(file_)), 100U);
  fs::remove(file_);
  std::ofstream(dir_ / "somebody's") << much;
  fs::create_symlink(dir_ / "somebody's", file_);
  EXPECT_FALSE(cut_back(file_, 10, 5));
  EXPECT_EQ(fs::file_size(dir_ / "somebody's"), much.size());
}

TEST(BoundedFileOnAFullDisk, TheLastRoomIsLeftToOthers) {
  SmallDisk disk("4m");
  if (!disk.works) GTEST_SKIP() << "only root may mount a disk to fill";
  BoundedFile file(disk.path / "lines", 64ULL << 20);
  const std::string line(1000, 'x');
  std::string why;
  for (int i = 0; i < 5000 && why.empty(); ++i) why = file.write(line);
  EXPECT_THAT(why, testing::HasSubstr("left to others"));
  EXPECT_GE(disk.fill(), (4U << 20) / BoundedFile::kLeftFreeShare - 8192) << "it had taken it all";
  EXPECT_NE(file.write(line), "");
  disk.empty();
  fs::resize_file(disk.path / "lines", 1000);
  EXPECT_EQ(file.write(line), "") << "there is room again";
}

}  // namespace
}  // namespace understudy

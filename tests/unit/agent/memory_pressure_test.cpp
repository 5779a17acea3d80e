#include "agent/memory_pressure.hpp"

#include <gtest/gtest.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;

constexpr Bytes kLimit = 100_MiB;
const Time kStart = Time() + 1h;

MemoryStat at_its_limit(Bytes file_bytes, std::uint64_t file_refaults) {
  return {
      .anonymous_bytes = 99_MiB, .shared_bytes = 0, .file_bytes = file_bytes, .file_refaults = file_refaults};
}

TEST(MemoryStat, IsReadFromTheKernelsLines) {
  const auto stat = parse_memory_stat(
      "anon 1048576\nfile 9437184\nkernel 5\nshmem 8388608\nfile_mapped 77\nanon_thp 3\n"
      "workingset_refault_anon 1\nworkingset_refault_file 42\n");
  EXPECT_EQ(stat.anonymous_bytes, 1_MiB);
  EXPECT_EQ(stat.shared_bytes, 8_MiB);
  EXPECT_EQ(stat.file_bytes, 1_MiB) << "shared memory cannot be dropped";
  EXPECT_EQ(stat.file_refaults, 42u);
  EXPECT_EQ(stat.kept_bytes(), 9_MiB);
}

TEST(MemoryStat, WhatIsNotThereIsNothing) {
  EXPECT_EQ(parse_memory_stat("").kept_bytes(), 0u);
  EXPECT_EQ(parse_memory_stat("anon x\nfile 1\nshmem 2\n").file_bytes, 0u);
}

TEST(CrawlJudge, ReadingItsWholeProgramAgainManyTimesASecondIsCrawling) {
  CrawlJudge judge;
  EXPECT_FALSE(judge.crawls(at_its_limit(1_MiB, 1000), kLimit, kStart))
      << "there is nothing to compare with yet";
  // 256 pages, 4 times a second, for 10 s.
  EXPECT_TRUE(judge.crawls(at_its_limit(1_MiB, 1000 + 256 * 4 * 10), kLimit, kStart + 10s));
  EXPECT_FALSE(judge.crawls(at_its_limit(1_MiB, 1000 + 256 * 4 * 20 - 1), kLimit, kStart + 20s));
}

// Like PostgreSQL: the kernel calls its shared memory pages of a file, and cannot drop them.
TEST(CrawlJudge, SharedMemoryIsNotWhatItReadsAgain) {
  const auto stat = [](std::uint64_t refaults) {
    return parse_memory_stat("anon 41943040\nfile 62914560\nshmem 61865984\nworkingset_refault_file " +
                             std::to_string(refaults) + "\n");
  };
  CrawlJudge judge;
  EXPECT_FALSE(judge.crawls(stat(0), kLimit, kStart));
  EXPECT_TRUE(judge.crawls(stat(256 * 4 * 10), kLimit, kStart + 10s));
}

TEST(CrawlJudge, BelowItsLimitItMayReadWhatItLikes) {
  CrawlJudge judge;
  auto stat = at_its_limit(1_MiB, 0);
  stat.anonymous_bytes = kLimit - kLimit / 16 - 1;
  EXPECT_FALSE(judge.crawls(stat, kLimit, kStart));
  stat.file_refaults = 1'000'000;
  EXPECT_FALSE(judge.crawls(stat, kLimit, kStart + 10s));
  EXPECT_FALSE(judge.crawls(stat, std::nullopt, kStart + 10s));
  stat.anonymous_bytes += 1;
  EXPECT_FALSE(judge.crawls(stat, kLimit, kStart + 20s)) << "what was below the limit does not count";
  stat.file_refaults = 2'000'000;
  EXPECT_TRUE(judge.crawls(stat, kLimit, kStart + 30s));
}

TEST(CrawlJudge, PressureOfLongAgoIsAnotherMatter) {
  CrawlJudge judge;
  EXPECT_FALSE(judge.crawls(at_its_limit(1_MiB, 0), kLimit, kStart));
  EXPECT_FALSE(judge.crawls(at_its_limit(1_MiB, 10'000'000), kLimit, kStart + 31s));
  EXPECT_TRUE(judge.crawls(at_its_limit(1_MiB, 20'000'000), kLimit, kStart + 61s));
}

TEST(CrawlJudge, AHandfulOfPagesIsNotAProgram) {
  CrawlJudge judge;
  EXPECT_FALSE(judge.crawls(at_its_limit(0, 0), kLimit, kStart));
  EXPECT_FALSE(judge.crawls(at_its_limit(4_KiB, 64 * 4 * 10 - 1), kLimit, kStart + 10s));
  EXPECT_TRUE(judge.crawls(at_its_limit(4_KiB, 64 * 4 * 20), kLimit, kStart + 20s));
}

TEST(CrawlJudge, NumbersThatGoBackwardsMeanNothing) {
  CrawlJudge judge;
  EXPECT_FALSE(judge.crawls(at_its_limit(1_MiB, 5'000'000), kLimit, kStart));
  EXPECT_FALSE(judge.crawls(at_its_limit(1_MiB, 1), kLimit, kStart + 10s));
  EXPECT_FALSE(judge.crawls(at_its_limit(1_MiB, 9'000'000), kLimit, kStart + 10s));
}

}  // namespace
}  // namespace understudy::agent

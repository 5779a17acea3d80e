#include "link/rate_limit.hpp"

#include <gtest/gtest.h>

namespace understudy::link {
namespace {

using namespace std::chrono_literals;

TEST(TokenBucket, HoldsOneSecondsWorthAndTurnsTheRestIntoAWait) {
  TokenBucket bucket(100, Time(0s));
  bucket.take(100, Time(0s));
  EXPECT_EQ(bucket.debt(Time(0s)), 0s);
  bucket.take(50, Time(0s));
  EXPECT_EQ(bucket.debt(Time(0s)), 500ms);
  EXPECT_EQ(bucket.debt(Time(400ms)), 100ms);
  EXPECT_EQ(bucket.debt(Time(500ms)), 0s);
}

TEST(TokenBucket, DoesNotSaveUpMoreThanThat) {
  TokenBucket bucket(100, Time(0s));
  bucket.take(150, Time(1h));
  EXPECT_EQ(bucket.debt(Time(1h)), 500ms);
}

TEST(TokenBucket, AClockThatStandsStillGivesNothing) {
  TokenBucket bucket(100, Time(10s));
  bucket.take(200, Time(10s));
  EXPECT_EQ(bucket.debt(Time(9s)), 1s);
}

TEST(Occasionally, CountsWhatItHoldsBack) {
  Occasionally occasionally(1s);
  std::uint64_t held_back = 9;
  EXPECT_TRUE(occasionally.now(Time(5s), held_back));
  EXPECT_EQ(held_back, 0u);
  EXPECT_FALSE(occasionally.now(Time(5s), held_back));
  EXPECT_FALSE(occasionally.now(Time(5999ms), held_back));
  EXPECT_TRUE(occasionally.now(Time(6s), held_back));
  EXPECT_EQ(held_back, 2u);
}

}  // namespace
}  // namespace understudy::link

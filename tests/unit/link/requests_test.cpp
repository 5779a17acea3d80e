#include "link/requests.hpp"

#include <gtest/gtest.h>

namespace understudy::link {
namespace {

namespace to = protocol::to_agent;

TEST(Requests, AreKeptUntilTheyAreAnswered) {
  Requests requests;
  ASSERT_TRUE(requests.add(to::Need{1, 7, 100}));
  ASSERT_TRUE(requests.add(to::Query{}));
  EXPECT_EQ(requests.unanswered().size(), 2u);
  EXPECT_NE(requests.find<to::Need>(1, 7), nullptr);
  EXPECT_EQ(requests.find<to::Need>(1, 8), nullptr);
  EXPECT_EQ(requests.find<to::Need>(2, 7), nullptr);
  requests.answered<to::Need>(1, 8);
  EXPECT_EQ(requests.unanswered().size(), 2u);
  requests.answered<to::Need>(1, 7);
  requests.state_answered();
  EXPECT_TRUE(requests.unanswered().empty());
}

TEST(Requests, AStopMakesTheStartPointless) {
  Requests requests;
  ASSERT_TRUE(requests.add(to::Start{1, 7, 0, {}}));
  ASSERT_TRUE(requests.add(to::GrowDone{1, 7, 100, {2}}));
  ASSERT_TRUE(requests.add(to::Start{2, 7, 0, {}}));
  ASSERT_TRUE(requests.add(to::Stop{1, 7}));
  EXPECT_EQ(requests.find<to::Start>(1, 7), nullptr);
  EXPECT_EQ(requests.find<to::GrowDone>(1, 7), nullptr);
  EXPECT_NE(requests.find<to::Start>(2, 7), nullptr);
}

TEST(Requests, ANewEpochMakesTheOldOnesPointless) {
  Requests requests;
  ASSERT_TRUE(requests.add(to::Stop{1, 6}));
  ASSERT_TRUE(requests.add(to::Engage{1, 6, {}}));
  ASSERT_TRUE(requests.add(to::Need{1, 7, 100}));
  EXPECT_EQ(requests.unanswered().size(), 1u);
}

TEST(Requests, ARepetitionIsKeptOnce) {
  Requests requests;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(requests.add(to::Query{}));
    ASSERT_TRUE(requests.add(to::Stop{1, 7}));
    ASSERT_TRUE(requests.add(to::Engage{1, 7, {{1, 2, 3}}}));
  }
  EXPECT_EQ(requests.unanswered().size(), 3u);
}

TEST(Requests, EngagementsAreToldApartByTheirAreas) {
  Requests requests;
  ASSERT_TRUE(requests.add(to::Engage{1, 7, {{1, 10, 1}, {2, 20, 1}}}));
  ASSERT_TRUE(requests.add(to::Engage{1, 7, {{3, 30, 1}}}));
  const std::vector<protocol::AreaNumber> first{2, 1};
  const std::vector<protocol::AreaNumber> part{1};
  ASSERT_NE(requests.find_engage(1, 7, first), nullptr);
  EXPECT_EQ(requests.find_engage(1, 7, part), nullptr);
  EXPECT_EQ(requests.find_engage(1, 8, first), nullptr);
  requests.answered(*requests.find_engage(1, 7, first));
  EXPECT_EQ(requests.find_engage(1, 7, first), nullptr);
  EXPECT_EQ(requests.unanswered().size(), 1u);
}

TEST(Requests, AddressesAreRememberedFromEngagements) {
  Requests requests;
  ASSERT_TRUE(requests.add(to::Engage{1, 7, {{3, 30, 5}}}));
  ASSERT_NE(requests.area(3), nullptr);
  EXPECT_EQ(requests.area(3)->address, 30u);
  EXPECT_EQ(requests.area(4), nullptr);
}

TEST(Requests, AreBounded) {
  Requests requests;
  for (std::uint32_t app = 0; app < Requests::kMost; ++app) ASSERT_TRUE(requests.add(to::Stop{app, 1}));
  EXPECT_FALSE(requests.add(to::Stop{9999, 1}));
}

}  // namespace
}  // namespace understudy::link

#include "gateway/connection_budget.hpp"

#include <gtest/gtest.h>

namespace understudy::gateway {
namespace {

std::size_t take_all(ConnectionBudget& budget, ConnectionBudget::Party& party) {
  std::size_t taken = 0;
  while (budget.take(party)) ++taken;
  return taken;
}

TEST(ConnectionBudgetTest, OneAloneMayHaveAllOfIt) {
  ConnectionBudget budget(100);
  const auto only = budget.join();
  EXPECT_EQ(take_all(budget, *only), 100U);
}

TEST(ConnectionBudgetTest, WhoHasManyClientsLeavesRoomForEachOfTheOthers) {
  ConnectionBudget budget(90);
  const auto greedy = budget.join();
  const auto second = budget.join();
  const auto third = budget.join();
  EXPECT_EQ(take_all(budget, *greedy), 60U);
  EXPECT_EQ(take_all(budget, *second), 15U);
  EXPECT_EQ(take_all(budget, *third), 15U);
  EXPECT_FALSE(budget.take(*greedy));
  budget.give(*greedy);
  EXPECT_TRUE(budget.take(*third)) << "what nobody else needs anybody may have";
}

TEST(ConnectionBudgetTest, WhoHasNoAddressAnyMoreKeepsNothingFree) {
  ConnectionBudget budget(100);
  const auto stays = budget.join();
  auto leaves = budget.join();
  EXPECT_EQ(take_all(budget, *stays), 75U);
  leaves.reset();
  EXPECT_EQ(take_all(budget, *stays), 25U);
}

TEST(ConnectionBudgetTest, NoneHasMoreThanAQemuHasDescriptorsFor) {
  ConnectionBudget budget(1 << 20);
  const auto greedy = budget.join();
  EXPECT_EQ(take_all(budget, *greedy), kMostConnected);
}

TEST(ConnectionBudgetTest, AShareIsGivenBackAtItsEndAndSaysSo) {
  ConnectionBudget budget(1);
  const auto party = budget.join();
  ASSERT_TRUE(budget.take(*party));
  bool room = false;
  {
    ConnectionShare share(budget, party);
    ConnectionShare moved(std::move(share));
    EXPECT_FALSE(budget.take(*party));
    budget.when_there_is_room([&room] { room = true; });
  }
  EXPECT_TRUE(room);
  EXPECT_TRUE(budget.take(*party));
}

}  // namespace
}  // namespace understudy::gateway

#include "sim/simulation.hpp"

#include <gtest/gtest.h>

#include <string>

namespace understudy::sim {
namespace {

std::string traced(std::uint64_t seed) {
  Random random(seed);
  Simulation simulation(draw_shape(random), seed);
  std::string text = describe(simulation.world.shape);
  simulation.world.trace = [&](const std::string& line) {
    text += std::to_string((simulation.world.now() - Time{}).count()) + " " + line + "\n";
  };
  simulation.run({.weather = std::chrono::seconds(10),
                  .calm = std::chrono::seconds(200),
                  .down = std::chrono::seconds(100)});
  return text;
}

TEST(Replay, TheSameSeedGivesTheSameRunToTheLastEvent) {
  for (const std::uint64_t seed : {1ULL, 2ULL, 3ULL, 77ULL}) {
    const std::string first = traced(seed);
    EXPECT_GT(first.size(), 1000U);
    EXPECT_EQ(first, traced(seed)) << "seed " << seed;
  }
}

TEST(Replay, OtherSeedsGiveOtherRuns) {
  EXPECT_NE(traced(1), traced(2));
}

TEST(Random, IsTheSameOnEveryMachine) {
  Random random(1);
  EXPECT_EQ(random.next(), 12966619160104079557ULL);
  EXPECT_EQ(random.next(), 9600361134598540522ULL);
}

}  // namespace
}  // namespace understudy::sim

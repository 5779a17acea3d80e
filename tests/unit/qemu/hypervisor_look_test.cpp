// What is plugged into a guest is looked at, in turn and when QEMU tells of something unexpected.
#include "hypervisor_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using std::chrono::milliseconds;
using testing::HasSubstr;

struct LookTest : HypervisorTest {
  void SetUp() override {
    HypervisorTest::SetUp();
    settings.limits.look = milliseconds(20);
    settings.limits.look_again = milliseconds(200);
    make_hypervisor();
  }
  // The first look that shows so many areas.
  bool shows(core::GuestRun run, std::size_t areas) {
    return loop.until([&] {
      const auto seen = all<GuestSeen>(run);
      return !seen.empty() && seen.back().areas.size() == areas;
    });
  }
};

TEST_F(LookTest, EachGuestComesUpInTurn) {
  launch(kA);
  launch(kB);
  EXPECT_TRUE(shows(kA, 0));
  EXPECT_TRUE(shows(kB, 0));
  plug(kB);
  EXPECT_TRUE(shows(kB, 3));
  EXPECT_TRUE(all<GuestSeen>(kA).back().areas.empty());
  EXPECT_TRUE(all<GuestSeen>(kB).back().vcpus.has_value());
  EXPECT_EQ(all<GuestSeen>(kB).back().unexpected, "");
}

TEST_F(LookTest, VcpusAreCountedByApplication) {
  for (GuestPlan& plan : settings.guests) plan.more_vcpus = 3;
  make_hypervisor();
  launch();
  hypervisor->plug_vcpus(kA, {1}, 2);
  (void)await<VcpusPlugged>(kA);
  const std::size_t before = all<GuestSeen>(kA).size();
  const auto seen = await<GuestSeen>(kA, before + 2);
  ASSERT_TRUE(seen.vcpus && seen.vcpus->size() == 1);
  EXPECT_EQ((*seen.vcpus)[0].app, core::AppId{1});
  EXPECT_EQ((*seen.vcpus)[0].count, 2U);
}

// Nobody told of it; what is mapped of it is found out by asking for it back.
TEST_F(LookTest, AnAreaWithoutADeviceIsNotShownAndComesBackWhenItIsAskedFor) {
  launch();
  plug();
  order(kA, "vanish dimm-0001");
  EXPECT_TRUE(shows(kA, 2));
  EXPECT_TRUE(all<AreaUnplugged>(kA).empty());
  hypervisor->unplug(kA, std::span(kAreas).subspan(1, 1));
  EXPECT_EQ(await<AreaUnplugged>(kA).area, kAreas[1]);
  hypervisor->plug(kA, std::span(kAreas).subspan(1, 1));
  (void)await<AreaPlugged>(kA, 4);
}

TEST_F(LookTest, AnAreaThatTheGuestLetsGoOfUnaskedIsUnmappedBeforeThatIsSaid) {
  launch();
  plug();
  order(kA, "deleted dimm-0001");
  EXPECT_EQ(await<AreaUnplugged>(kA).area, kAreas[1]);
  hypervisor->plug(kA, std::span(kAreas).subspan(1, 1));
  (void)await<AreaPlugged>(kA, 4);
  EXPECT_TRUE(all<PlugFailed>(kA).empty()) << "its backing was still there";
}

TEST_F(LookTest, NothingIsLookedAtWhileAnAreaIsOnItsWay) {
  faults("deaf");
  settings.limits.unplug = milliseconds(150);
  make_hypervisor();
  launch();
  plug();
  hypervisor->unplug(kA, kAreas);
  const std::size_t before = all<GuestSeen>(kA).size();
  (void)await<UnplugFailed>(kA, 3);
  EXPECT_LE(all<GuestSeen>(kA).size(), before + 1) << "but for one that was on its way";
  (void)await<GuestSeen>(kA, before + 2);
}

TEST_F(LookTest, NobodyLooksAtAGuestThatIsStopped) {
  launch();
  (void)await<GuestSeen>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  const std::size_t before = all<GuestSeen>(kA).size();
  loop.run_for(milliseconds(100));
  EXPECT_EQ(all<GuestSeen>(kA).size(), before);
}

struct UnexpectedTest : HypervisorTest {
  void SetUp() override {
    HypervisorTest::SetUp();
    settings.limits.look = std::chrono::hours(1);
    settings.limits.look_again = milliseconds(300);
    make_hypervisor();
  }
  [[nodiscard]] std::string unexpected() const {
    std::string text;
    for (const GuestSeen& seen : all<GuestSeen>(kA)) text += seen.unexpected + ";";
    return text;
  }
};

TEST_F(UnexpectedTest, IsLookedIntoAtOnceAndNamed) {
  launch();
  order(kA, "event MEMORY_FAILURE");
  EXPECT_EQ(await<GuestSeen>(kA).unexpected, "MEMORY_FAILURE");
}

// Root in a guest can cause what it likes, as fast as it can.
TEST_F(UnexpectedTest, AFloodIsCountedAndCostsOneLookInAWhile) {
  launch();
  const auto began = std::chrono::steady_clock::now();
  std::string flood;
  for (int i = 0; i < 500; ++i) flood += "event STRANGE_" + std::to_string(i % 20) + "\n";
  order(kA, flood + "event LAST");
  ASSERT_TRUE(loop.until([&] { return unexpected().find("others") != std::string::npos; }));
  loop.run_for(milliseconds(700));
  const auto took = std::chrono::steady_clock::now() - began;
  EXPECT_LE(all<GuestSeen>(kA).size(), static_cast<std::size_t>(took / milliseconds(300)) + 1);
  EXPECT_LT(unexpected().size(), 600U);
}

TEST_F(UnexpectedTest, WhatAnyOsCausesIsLookedIntoAndNotSpokenOf) {
  launch();
  order(kA, "event RTC_CHANGE");
  EXPECT_EQ(await<GuestSeen>(kA).unexpected, "");
}

TEST_F(UnexpectedTest, ADeviceThatIsNoAreaAndNoVcpuIsNamedWhenItIsGone) {
  launch();
  plug();
  order(kA, "deleted dimm-0002");
  (void)await<AreaUnplugged>(kA);
  order(kA, "deleted network");
  EXPECT_EQ(await<GuestSeen>(kA).unexpected, "DEVICE_DELETED (network)");
}

// A look is never a reason to end anybody.
struct LookFault : HypervisorTest, testing::WithParamInterface<const char*> {};
TEST_P(LookFault, EndsNobody) {
  settings.limits.look = milliseconds(20);
  make_hypervisor();
  faults(GetParam());
  launch();
  loop.run_for(milliseconds(300));
  EXPECT_TRUE(all<GuestSeen>(kA).empty());
  EXPECT_TRUE(all<GuestExited>(kA).empty());
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
}
INSTANTIATE_TEST_SUITE_P(All, LookFault,
                         testing::Values("refuse=query-memory-devices", "silent=query-memory-devices"));

}  // namespace
}  // namespace understudy::qemu

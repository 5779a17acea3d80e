// The hypervisor when the monitor fails at any of its commands: one answer for each request, or the end of
// the guest.
#include "hypervisor_fixture.hpp"
#include "qemu/proc.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <vector>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using testing::HasSubstr;

struct Fault {
  std::string action;
  std::string command;
  friend void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.action << " " << fault.command; }
};
std::vector<Fault> faults_of(const std::vector<std::string>& commands) {
  std::vector<Fault> all;
  for (const std::string& command : commands) {
    for (const char* action : {"refuse", "silent", "exit", "hangup", "garbage"})
      all.push_back({action, command});
  }
  return all;
}
std::string name_of(const testing::TestParamInfo<Fault>& info) {
  std::string name = info.param.action + "_" + info.param.command;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

struct LaunchFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, LaunchFault,
                         testing::ValuesIn(faults_of({"qmp_capabilities", "query-status",
                                                      "human-monitor-command", "qom-list",
                                                      "query-memory-devices"})),
                         name_of);

TEST_P(LaunchFault, EndsInLaunchFailedWithNoProcessLeft) {
  faults("launch " + GetParam().action + "=" + GetParam().command);
  hypervisor->launch(kA);
  const auto failed = await<LaunchFailed>(kA);
  EXPECT_FALSE(failed.why.empty());
  EXPECT_TRUE(processes().empty());
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
  EXPECT_TRUE(std::count(calls.begin(), calls.end(), "available") == 0);
  // And the next launch works.
  faults("ok");
  launch({{0}, 2});
}

// The disk of one guest's files does not answer: that is somebody else's writing into a pipe here.
struct HangingLaunch : HypervisorTest {
  std::filesystem::path definition() const { return directory.path / "guests/a/definition.new"; }
  void begin() {
    std::filesystem::create_directories(definition().parent_path());
    ASSERT_EQ(::mkfifo(definition().c_str(), 0600), 0);
    hypervisor->launch(kA);
    ASSERT_TRUE(loop.until([&] { return hypervisor->definition(kA) != nullptr; }));
  }
  // Until it is read.
  void go_on() { reader = UniqueFd(::open(definition().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)); }
  void TearDown() override {
    go_on();
    HypervisorTest::TearDown();
  }
  UniqueFd reader;
};

TEST_F(HangingLaunch, IsSaidAndHoldsUpNobody) {
  begin();
  launch(kB);
  EXPECT_THAT(await<StopDelayed>(kA).evidence, HasSubstr("still being started"));
  go_on();
  (void)await<GuestLaunched>(kA);
}

TEST_F(HangingLaunch, IsFencedWhenThereIsSomethingToFence) {
  begin();
  hypervisor->fence(kA);
  launch(kB);
  EXPECT_TRUE(all<GuestFenced>(kA).empty()) << "its QEMU may still come";
  go_on();
  (void)await<GuestFenced>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_EQ(processes().size(), 1u);
}

TEST_F(HangingLaunch, IsDiscardedWhenThereIsSomethingToDiscard) {
  begin();
  hypervisor->launch({{0}, 2});
  EXPECT_THAT(await<LaunchFailed>({{0}, 2}).why, HasSubstr("being started"));
  hypervisor->discard(kA);
  launch(kB);
  EXPECT_TRUE(all<GuestGone>(kA).empty());
  go_on();
  (void)await<GuestGone>(kA);
  EXPECT_EQ(processes().size(), 1u);
}

struct PlugFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, PlugFault,
                         testing::ValuesIn(faults_of({"object-add", "device_add", "query-memory-devices"})),
                         name_of);

TEST_P(PlugFault, EndsInOneAnswerForEachAreaOrInTheEndOfTheGuest) {
  faults(GetParam().action + "=" + GetParam().command);
  launch();
  hypervisor->plug(kA, kAreas);
  ASSERT_TRUE(
      loop.until([this] { return all<PlugFailed>(kA).size() == 3 || !all<GuestExited>(kA).empty(); }));
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), all<PlugFailed>(kA).empty() ? 2u : 4u) << "one answer, after GuestLaunched";
  if (GetParam().action == "refuse" && GetParam().command != "query-memory-devices") {
    EXPECT_THAT(await<PlugFailed>(kA).why, HasSubstr("refused for the test"));
    hypervisor->fence(kA);
    (void)await<GuestFenced>(kA);
  } else {
    EXPECT_TRUE(processes().empty()) << "what cannot be known must not run on";
  }
}

struct UnplugFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, UnplugFault, testing::ValuesIn(faults_of({"device_del", "object-del"})),
                         name_of);

TEST_P(UnplugFault, EndsInOneAnswerForEachAreaOrInTheEndOfTheGuest) {
  faults(GetParam().action + "=" + GetParam().command);
  launch();
  plug();
  events.clear();
  hypervisor->unplug(kA, kAreas);
  ASSERT_TRUE(
      loop.until([this] { return all<UnplugFailed>(kA).size() == 3 || !all<GuestExited>(kA).empty(); }));
  loop.run_for(kQuiet);
  for (const core::Event& event : events) EXPECT_FALSE(std::holds_alternative<AreaUnplugged>(event));
  if (GetParam().action == "refuse") {
    EXPECT_EQ(events.size(), 3u);
    EXPECT_THAT(await<UnplugFailed>(kA).why, HasSubstr("refused for the test"));
  } else if (all<UnplugFailed>(kA).empty()) {
    EXPECT_EQ(events.size(), 1u);
    EXPECT_TRUE(processes().empty()) << "what cannot be known must not run on";
  }
}

struct FenceFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, FenceFault, testing::ValuesIn(faults_of({"stop", "query-status"})), name_of);

TEST_P(FenceFault, EndsInGuestFencedAndOnlyWhenItIsTrue) {
  faults(GetParam().action + "=" + GetParam().command);
  launch();
  events.clear();
  const pid_t pid = processes().at(0).pid;
  hypervisor->fence(kA);
  const auto fenced = await<GuestFenced>(kA);
  const bool stopped_by_monitor = fenced.how.find("QEMU says") != std::string::npos;
  EXPECT_TRUE(stopped_by_monitor || all_threads_over(pid)) << fenced.how;
  if (GetParam().command == "query-status") {
    EXPECT_FALSE(stopped_by_monitor) << fenced.how;
  }
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA, 2);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 3u);
  EXPECT_TRUE(processes().empty());
}

}  // namespace
}  // namespace understudy::qemu

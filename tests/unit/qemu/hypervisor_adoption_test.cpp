// What a restarted daemon finds of the guests that went on without it.
#include "hypervisor_fixture.hpp"
#include "qemu/proc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using core::AreaId;
using std::chrono::milliseconds;
using testing::HasSubstr;

TEST_F(HypervisorTest, ARestartedDaemonFindsWhatIsPlugged) {
  launch();
  plug();
  const auto port = hypervisor->forwarded_port(kA, 6379);
  make_hypervisor();
  events.clear();
  calls.clear();
  hypervisor->adopt(kA);
  const auto adopted = await<GuestAdopted>(kA);
  EXPECT_TRUE(adopted.executing);
  ASSERT_EQ(adopted.areas.size(), 3u);
  EXPECT_EQ(adopted.areas[1].area, AreaId{1});
  EXPECT_EQ(adopted.areas[1].guest_address, 0x108000000u);
  EXPECT_EQ(calls.front(), "available");
  EXPECT_EQ(hypervisor->forwarded_port(kA, 6379), port);
  // And everything works as before.
  hypervisor->unplug(kA, kAreas);
  (void)await<AreaUnplugged>(kA, 3);
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_EQ(events.size(), 7u);
}

TEST_F(HypervisorTest, AGuestThatPanickedMeanwhileDoesNotExecute) {
  launch();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  EXPECT_FALSE(await<GuestAdopted>(kA).executing);
  (void)await<GuestPanicked>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 2u);
}

// Its operator may have done that: whether it is a fault is not decided here.
TEST_F(HypervisorTest, AGuestThatIsMerelyPausedIsNotEndedAtAdoption) {
  launch();
  const pid_t pid = processes().at(0).pid;
  const UniqueFd orders = connect(kA);
  hypervisor.reset();
  loop.run_for(kQuiet);
  ASSERT_EQ(::write(orders.get(), "stop paused\n", 12), 12);
  loop.run_for(kQuiet);
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  const auto adopted = await<GuestAdopted>(kA);
  EXPECT_TRUE(adopted.answers);
  EXPECT_FALSE(adopted.executing);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
  EXPECT_EQ(processes().at(0).pid, pid);
}

TEST_F(HypervisorTest, ABackingWithoutADeviceIsTakenAwayAtAdoption) {
  faults("refuse=device_add hangup=object-del");
  launch();
  hypervisor->plug(kA, std::span(kAreas).first(1));
  loop.run_for(milliseconds(20));  // object-del was sent, and never done
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  EXPECT_TRUE(await<GuestAdopted>(kA).areas.empty());
}

TEST_F(HypervisorTest, AdoptionOfWhatIsGoneOrOfAnotherRunIsGuestExited) {
  launch();
  make_hypervisor();
  hypervisor->adopt({{0}, 2});
  (void)await<GuestExited>({{0}, 2});
  hypervisor->adopt(kB);
  EXPECT_THAT(await<GuestExited>(kB).how, HasSubstr("while no daemon watched it"));
  EXPECT_EQ(processes().size(), 1u) << "run 1 was not asked for";
}

// Seen: a guest in maintenance, its QEMU stopped by its operator, was killed by the next daemon.
TEST_F(HypervisorTest, AQemuThatIsStoppedIsFoundAndSaysTheRestWhenItGoesOn) {
  launch();
  plug();
  const pid_t pid = processes().at(0).pid;
  ASSERT_TRUE(hypervisor->sigstop(kA));
  make_hypervisor();
  events.clear();
  calls.clear();
  hypervisor->adopt(kA);
  const auto found = await<GuestAdopted>(kA);
  EXPECT_FALSE(found.answers);
  EXPECT_TRUE(found.areas.empty());
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls.front(), "available") << "its agent may be heard before the core hears of the guest";
  hypervisor->probe(kA);
  const auto probed = await<ProbeAnswer>(kA);
  EXPECT_FALSE(probed.kernel_answers);
  EXPECT_THAT(probed.evidence, HasSubstr("QEMU is stopped (state T)"));
  loop.run_for(milliseconds(700));  // longer than the limit for its monitor
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  ASSERT_TRUE(loop.until([this] { return all<GuestAdopted>(kA).size() == 2; }));
  const auto known = all<GuestAdopted>(kA).back();
  EXPECT_TRUE(known.answers);
  EXPECT_TRUE(known.executing);
  EXPECT_EQ(known.areas.size(), 3u);
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "available"), 1);
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "gone"), 0);
  hypervisor->unplug(kA, kAreas);
  (void)await<AreaUnplugged>(kA, 3);
}

TEST_F(HypervisorTest, OneThatIsStoppedIsFencedAtOnceByADaemonThatDoesNotKnowIt) {
  launch();
  const pid_t pid = processes().at(0).pid;
  ASSERT_TRUE(hypervisor->sigstop(kA));
  make_hypervisor();
  events.clear();
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  EXPECT_TRUE(all_threads_over(pid));
}

TEST_F(HypervisorTest, AFenceOfARunThatThisDaemonDoesNotKnowIsReal) {
  launch();
  const pid_t pid = processes().at(0).pid;
  make_hypervisor();
  events.clear();
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  EXPECT_EQ(processes().at(0).pid, pid) << "by its monitor, so that it can still be looked at";
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
}

TEST_F(HypervisorTest, TheGuestsOutliveTheDaemonAndDownEndsThem) {
  launch();
  launch(kB);
  hypervisor.reset();
  loop.run_for(kQuiet);
  EXPECT_EQ(processes().size(), 2u);
  EXPECT_EQ(end_all(directory.path).value(), 2u);
  EXPECT_TRUE(processes().empty());
  EXPECT_FALSE(std::filesystem::exists(directory.path / "guests"));
}

}  // namespace
}  // namespace understudy::qemu

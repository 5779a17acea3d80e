// The life of a guest, from its launch to its end, against a stand-in for QEMU (hypervisor_fixture.hpp).
#include "hypervisor_fixture.hpp"
#include "qemu/proc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using std::chrono::milliseconds;
using testing::HasSubstr;

TEST_F(HypervisorTest, LaunchesAGuestWithEverythingBelowItsDirectory) {
  hypervisor->launch(kA);
  EXPECT_TRUE(events.empty()) << "called from inside the request";
  (void)await<GuestLaunched>(kA);
  EXPECT_EQ(events.size(), 1u);
  EXPECT_EQ(calls.front(), "available")
      << "the agent's socket can be used before the core hears of the guest";
  EXPECT_EQ(hypervisor->agent_socket(kA), directory.path / "guests" / "a" / "agent.sock");
  EXPECT_TRUE(hypervisor->forwarded_port(kA, 6379));
  EXPECT_FALSE(hypervisor->forwarded_port(kA, 80));
  EXPECT_FALSE(hypervisor->forwarded_port(kB, 6379));
  ASSERT_EQ(processes().size(), 1u);
  EXPECT_EQ(processes()[0].marker, (Marker{directory.path, "a", 1}));
  EXPECT_GT(hypervisor->host_memory(kA).value_or(HostMemory{}).bytes, 0u);
  EXPECT_FALSE(hypervisor->host_memory(kB));
}

TEST_F(HypervisorTest, SeveralGuestsAtOnce) {
  hypervisor->launch(kA);
  hypervisor->launch(kB);
  (void)await<GuestLaunched>(kA);
  (void)await<GuestLaunched>(kB);
  EXPECT_NE(hypervisor->forwarded_port(kA, 6379), hypervisor->forwarded_port(kB, 6379));
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_EQ(processes().size(), 1u);
}

TEST_F(HypervisorTest, PlugsWithAddressesAndUnplugs) {
  launch();
  plug();
  const auto plugged = all<AreaPlugged>(kA);
  EXPECT_EQ(plugged[0].guest_address, 0x100000000u);
  EXPECT_EQ(plugged[2].guest_address, 0x110000000u);
  events.clear();
  hypervisor->plug(kA, std::span(kAreas).first(1));
  EXPECT_EQ(await<AreaPlugged>(kA).guest_address, 0x100000000u) << "asked again: it is so already";
  events.clear();
  hypervisor->unplug(kA, kAreas);
  (void)await<AreaUnplugged>(kA, 3);
  EXPECT_EQ(events.size(), 3u);
  // Once more: it is not in the guest, which is what was asked for.
  hypervisor->unplug(kA, std::span(kAreas).first(1));
  (void)await<AreaUnplugged>(kA, 4);
  plug();
}

TEST_F(HypervisorTest, AGuestThatDoesNotLetGoIsToldApartFromOneThatRefuses) {
  faults("deaf");
  launch();
  plug();
  hypervisor->unplug(kA, kAreas);
  EXPECT_THAT(await<UnplugFailed>(kA, 3).why, HasSubstr("did not let go of it within 200 ms"));
  // It lets go after all: the core, which has it as left over there, hears of that, once; the file is not
  // kept mapped and can be plugged again.
  events.clear();
  order(kA, "deleted dimm-0001");
  EXPECT_EQ(await<AreaUnplugged>(kA).area, kAreas[1]);
  order(kA, "deleted dimm-0001");  // what is out already is no news
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
  hypervisor->plug(kA, std::span(kAreas).subspan(1, 1));
  (void)await<AreaPlugged>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);

  faults("refusing");
  launch(kB);
  plug(kB);
  hypervisor->unplug(kB, kAreas);
  EXPECT_THAT(await<UnplugFailed>(kB, 3).why, HasSubstr("refused to let go of it (ACPI status 130)"));
  loop.run_for(milliseconds(250));
  EXPECT_EQ(all<UnplugFailed>(kB).size(), 3u) << "the limit answered once more";
}

TEST_F(HypervisorTest, APanicIsReportedOnceAndItsFenceOnlyVerifies) {
  launch();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("QEMU says \"guest-panicked\""));
  EXPECT_EQ(processes().size(), 1u) << "kept for a look at it";
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 3u);
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "gone"), 1);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_TRUE(processes().empty());
  EXPECT_FALSE(std::filesystem::exists(*hypervisor->agent_socket(kA)));
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 4u);
}

TEST_F(HypervisorTest, AGuestThatPowersOffOrRestartsByItselfIsEndedUnderItsTrueName) {
  launch();
  order(kA, "shutdown guest-shutdown");
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("its OS powered itself off"));
  launch(kB);
  order(kB, "shutdown guest-reset");
  EXPECT_THAT(await<GuestExited>(kB).how, HasSubstr("its OS restarted itself"));
  EXPECT_TRUE(all<GuestPanicked>(kA).empty());
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 4u);
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, AGuestThatQemuStopsByItselfHasEnded) {
  launch();
  order(kA, "stop internal-error");
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("internal-error"));
}

TEST_F(HypervisorTest, AQemuThatEndsByItselfIsReportedOnceWithItsLastWords) {
  launch();
  order(kA, "exit 3");
  EXPECT_EQ(await<GuestExited>(kA).how, "exit status 3; QEMU's last words: it is broken");
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(all<GuestExited>(kA).size(), 1u);
  EXPECT_EQ(events.size(), 4u);
}

TEST_F(HypervisorTest, TheEndAfterAFenceOrADiscardIsNoNews) {
  launch();
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  ASSERT_TRUE(hypervisor->sigkill(kA));
  ASSERT_TRUE(loop.until([this] {
    loop.run_for(milliseconds(5));
    return processes().empty();
  }));
  loop.run_for(kQuiet);
  EXPECT_TRUE(all<GuestExited>(kA).empty());
  launch(kB);
  hypervisor->discard(kB);
  (void)await<GuestGone>(kB);
  loop.run_for(kQuiet);
  EXPECT_TRUE(all<GuestExited>(kB).empty());
}

TEST_F(HypervisorTest, DrillsAreReal) {
  launch();
  launch(kB);
  ASSERT_TRUE(hypervisor->sigkill(kA));
  EXPECT_EQ(await<GuestExited>(kA).how, "killed by signal 9 (SIGKILL)");
  ASSERT_TRUE(hypervisor->sigstop(kB));
  ASSERT_TRUE(loop.until([&] {
    loop.run_for(milliseconds(1));
    return process_stat(processes().at(0).pid)->state == 'T';
  }));
  EXPECT_FALSE(hypervisor->sigstop({{1}, 9}));
  EXPECT_FALSE(hypervisor->sigstop(kA));
}

// ---- probes ----

TEST_F(HypervisorTest, ALivingKernelAnswersAProbe) {
  launch();
  hypervisor->probe(kA);
  const auto answer = await<ProbeAnswer>(kA);
  EXPECT_TRUE(answer.kernel_answers);
  EXPECT_THAT(answer.evidence, HasSubstr("the kernel answered a packet in"));
}

TEST_F(HypervisorTest, ADeadKernelDoesNotAndTheEvidenceSaysWhatElseIsKnown) {
  faults("dead-kernel");
  launch();
  const auto before = std::chrono::steady_clock::now();
  hypervisor->probe(kA);
  const auto answer = await<ProbeAnswer>(kA);
  EXPECT_FALSE(answer.kernel_answers);
  EXPECT_THAT(answer.evidence, HasSubstr("no answer from the kernel within 100 ms"));
  EXPECT_THAT(answer.evidence, HasSubstr("its monitor says \"running\""));
  EXPECT_LT(std::chrono::steady_clock::now() - before, milliseconds(1000));
  hypervisor->probe(kA);
  EXPECT_THAT(await<ProbeAnswer>(kA, 2).evidence, HasSubstr("its vCPUs used 0 ms of CPU"));
}

TEST_F(HypervisorTest, AStoppedQemuAnswersNoProbeAndIsFencedWithoutItsMonitor) {
  launch();
  ASSERT_TRUE(hypervisor->sigstop(kA));
  hypervisor->probe(kA);
  const auto answer = await<ProbeAnswer>(kA);
  EXPECT_FALSE(answer.kernel_answers);
  EXPECT_THAT(answer.evidence, HasSubstr("QEMU is stopped (state T)"));
  EXPECT_THAT(answer.evidence, HasSubstr("its monitor does not answer"));
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("(QEMU itself is stopped (state T))"));
}

TEST_F(HypervisorTest, AQemuThatDiesDuringAProbeIsNoAnswerOfItsKernel) {
  faults("dead-kernel");
  launch();
  hypervisor->probe(kA);
  loop.run_for(milliseconds(20));
  ASSERT_TRUE(hypervisor->sigkill(kA));  // its connections close, as if they had been refused
  EXPECT_FALSE(await<ProbeAnswer>(kA).kernel_answers);
}

TEST_F(HypervisorTest, WhatIsNotThereIsAnsweredAtOnce) {
  hypervisor->probe(kA);
  EXPECT_FALSE(await<ProbeAnswer>(kA).kernel_answers);
  hypervisor->plug(kA, kAreas);
  (void)await<PlugFailed>(kA, 3);
  hypervisor->unplug(kA, kAreas);
  (void)await<UnplugFailed>(kA, 3);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  hypervisor->fence(kA);
  EXPECT_EQ(await<GuestFenced>(kA).how, "it has no process");
}

TEST_F(HypervisorTest, AGuestThatRunsOnAfterStopIsKilled) {
  faults("unstoppable");
  launch();
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("asked to stop it, but it still runs"));
  ASSERT_TRUE(loop.until([this] {
    loop.run_for(milliseconds(5));
    return processes().empty();
  }));
}

// ---- launches ----

TEST_F(HypervisorTest, AQemuThatNeverAnswersIsEndedAfterTheLimit) {
  faults("mute");
  hypervisor->launch(kA);
  EXPECT_THAT(await<LaunchFailed>(kA).why, HasSubstr("did not answer within 500 ms"));
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, AQemuThatIsNotInstalledFailsTheLaunch) {
  settings.qemu.program = "no-such-qemu";
  make_hypervisor();
  hypervisor->launch(kA);
  EXPECT_THAT(await<LaunchFailed>(kA).why, HasSubstr("cannot start no-such-qemu"));
}

TEST_F(HypervisorTest, AFenceDuringALaunchGivesItsAnswerAlone) {
  faults("mute");
  hypervisor->launch(kA);
  ASSERT_TRUE(loop.until([&] { return !processes().empty(); }));
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 2u);
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, ALaunchThatIsTakenBackBeforeTheProcessesWereLookedAtNeverBegins) {
  hypervisor->launch(kA);
  hypervisor->launch(kB);
  hypervisor->fence(kA);
  hypervisor->discard(kB);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("not started"));
  (void)await<GuestGone>(kB);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 2u);
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, ALaunchEndsWhatAnEarlierDaemonLeftOfTheGuest) {
  launch();
  const pid_t old = processes().at(0).pid;
  make_hypervisor();
  std::filesystem::remove(directory.path / "guests" / "a" / "pid");  // not even its pid is known
  launch({{0}, 2});
  EXPECT_TRUE(all_threads_over(old));
  ASSERT_EQ(processes().size(), 1u);
  EXPECT_EQ(processes()[0].marker.run, 2u);
}

TEST_F(HypervisorTest, ALaunchBesideALivingRunIsRefused) {
  launch();
  hypervisor->launch({{0}, 2});
  EXPECT_THAT(await<LaunchFailed>({{0}, 2}).why, HasSubstr("still exists"));
  EXPECT_EQ(processes().size(), 1u);
}

TEST_F(HypervisorTest, RelaunchesOverAndOver) {
  for (std::uint32_t run = 1; run <= 5; ++run) {
    launch({{0}, run});
    hypervisor->fence({{0}, run});
    (void)await<GuestFenced>({{0}, run});
    hypervisor->discard({{0}, run});
    (void)await<GuestGone>({{0}, run});
  }
  EXPECT_EQ(events.size(), 15u);
}

TEST_F(HypervisorTest, PathsThatCannotWorkAreRefusedAtTheStart) {
  settings.run_dir = directory.path / std::string(100, 'd');
  auto made = QemuHypervisor::create(loop.context, settings, *pool, {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("the kernel allows only 107"));
  settings.run_dir = directory.path;
  settings.guests[0].name = "../b";
  EXPECT_FALSE(QemuHypervisor::create(loop.context, settings, *pool, {}));
}

}  // namespace
}  // namespace understudy::qemu

// vCPUs that are plugged for an application, and unplugged when it leaves.
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

struct VcpuTest : HypervisorTest {
  static constexpr core::AppId kDb{0};
  static constexpr core::AppId kWeb{1};

  void SetUp() override {
    HypervisorTest::SetUp();
    for (GuestPlan& plan : settings.guests) plan.more_vcpus = 3;
    settings.qemu.accelerator = Accelerator::kvm;
    make_hypervisor();
  }
};

TEST_F(VcpuTest, ArePluggedAndUnpluggedByApplication) {
  launch();
  hypervisor->plug_vcpus(kA, kDb, 2);
  hypervisor->plug_vcpus(kA, kWeb, 1);
  const auto plugged = await<VcpusPlugged>(kA, 2);
  EXPECT_EQ(all<VcpusPlugged>(kA)[0].count, 2u);
  EXPECT_EQ(plugged.app, kWeb);
  EXPECT_EQ(plugged.count, 1u);
  EXPECT_EQ(plugged.why_not_all, "");
  hypervisor->plug_vcpus(kA, kDb, 2);
  EXPECT_EQ(await<VcpusPlugged>(kA, 3).count, 2u) << "asked again: it is so already";
  hypervisor->unplug_vcpus(kA, kDb);
  EXPECT_EQ(await<VcpusUnplugged>(kA).left, 0u);
  hypervisor->unplug_vcpus(kA, kDb);
  EXPECT_EQ(await<VcpusUnplugged>(kA, 2).left, 0u) << "not there, which is what was asked for";
  hypervisor->plug_vcpus(kA, kWeb, 3);
  EXPECT_EQ(await<VcpusPlugged>(kA, 4).count, 3u) << "the places are free again";
}

TEST_F(VcpuTest, MoreThanThereArePlacesForIsSaid) {
  launch();
  hypervisor->plug_vcpus(kA, kDb, 5);
  const auto plugged = await<VcpusPlugged>(kA);
  EXPECT_EQ(plugged.count, 3u);
  EXPECT_THAT(plugged.why_not_all, HasSubstr("no more places"));
}

TEST_F(VcpuTest, AGuestThatDoesNotLetGoGoesOnAndIsHeardWhenItDoes) {
  faults("deaf");
  launch();
  hypervisor->plug_vcpus(kA, kDb, 2);
  (void)await<VcpusPlugged>(kA);
  hypervisor->unplug_vcpus(kA, kDb);
  const auto kept = await<VcpusUnplugged>(kA);
  EXPECT_EQ(kept.left, 2u);
  EXPECT_THAT(kept.why_not_all, HasSubstr("did not let go within 200 ms"));
  order(kA, "deleted vcpu-0-1");
  EXPECT_EQ(await<VcpusUnplugged>(kA, 2).left, 1u);
  hypervisor->unplug_vcpus(kA, kDb);  // QEMU says that it is being unplugged already: waited for again
  EXPECT_EQ(await<VcpusUnplugged>(kA, 3).left, 1u);
  EXPECT_TRUE(all<GuestExited>(kA).empty());
  EXPECT_EQ(processes().size(), 1u);
}

TEST_F(VcpuTest, AGuestThatRefusesIsNotWaitedFor) {
  faults("refusing");
  launch();
  hypervisor->plug_vcpus(kA, kDb, 1);
  (void)await<VcpusPlugged>(kA);
  hypervisor->unplug_vcpus(kA, kDb);
  EXPECT_THAT(await<VcpusUnplugged>(kA).why_not_all, HasSubstr("ACPI status 130"));
  loop.run_for(milliseconds(250));
  EXPECT_EQ(all<VcpusUnplugged>(kA).size(), 1u) << "the limit answered once more";
}

// QEMU 7.2 under TCG: the next vCPU that is plugged after one was unplugged ends QEMU.
TEST_F(VcpuTest, UnderEmulationTheyStayAndAreThereForTheReturnOfTheirApplication) {
  settings.qemu.accelerator = Accelerator::tcg;
  make_hypervisor();
  faults("refuse=device_del");
  launch();
  hypervisor->plug_vcpus(kA, kDb, 2);
  (void)await<VcpusPlugged>(kA);
  hypervisor->unplug_vcpus(kA, kDb);
  const auto kept = await<VcpusUnplugged>(kA);
  EXPECT_EQ(kept.left, 2u);
  EXPECT_THAT(kept.why_not_all, HasSubstr("TCG")) << "QEMU was asked to unplug it";
  hypervisor->plug_vcpus(kA, kDb, 2);
  EXPECT_EQ(await<VcpusPlugged>(kA, 2).count, 2u);
  hypervisor->plug_vcpus(kA, kWeb, 1);
  EXPECT_EQ(await<VcpusPlugged>(kA, 3).count, 1u) << "others have places of their own";
}

TEST_F(VcpuTest, OneThatOnlyItsInterruptControllerTellsOfIsGone) {
  faults("lapic-only");
  launch();
  hypervisor->plug_vcpus(kA, kDb, 2);
  (void)await<VcpusPlugged>(kA);
  hypervisor->unplug_vcpus(kA, kDb);
  const auto gone = await<VcpusUnplugged>(kA);
  EXPECT_EQ(gone.left, 0u);
  EXPECT_EQ(gone.why_not_all, "");
}

TEST_F(VcpuTest, ALaterDaemonFindsWhoseTheyAre) {
  launch();
  hypervisor->plug_vcpus(kA, kDb, 1);
  hypervisor->plug_vcpus(kA, kWeb, 2);
  (void)await<VcpusPlugged>(kA, 2);
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  const auto adopted = await<GuestAdopted>(kA);
  ASSERT_EQ(adopted.vcpus.size(), 2u);
  EXPECT_EQ(adopted.vcpus[0].app, kDb);
  EXPECT_EQ(adopted.vcpus[0].count, 1u);
  EXPECT_EQ(adopted.vcpus[1].count, 2u);
  hypervisor->unplug_vcpus(kA, kWeb);
  EXPECT_EQ(await<VcpusUnplugged>(kA).left, 0u);
}

TEST_F(VcpuTest, WithoutAGuestTheAnswerComesAllTheSame) {
  hypervisor->plug_vcpus(kB, kDb, 1);
  EXPECT_EQ(await<VcpusPlugged>(kB).count, 0u);
  hypervisor->unplug_vcpus(kB, kDb);
  EXPECT_EQ(await<VcpusUnplugged>(kB).left, 0u);
}

// Whatever the monitor does to a vCPU's commands, there is one answer, or the end of the guest by its own
// fault (garbage, a closed connection).
struct VcpuFault : VcpuTest, testing::WithParamInterface<const char*> {};
TEST_P(VcpuFault, IsAnsweredOnce) {
  faults(GetParam());
  launch();
  hypervisor->plug_vcpus(kA, kDb, 1);
  EXPECT_TRUE(loop.until([&] { return !all<VcpusPlugged>(kA).empty() || !all<GuestExited>(kA).empty(); }));
  for (const VcpusPlugged& plugged : all<VcpusPlugged>(kA)) {
    EXPECT_EQ(plugged.count, 0u);
    EXPECT_NE(plugged.why_not_all, "");
  }
  loop.run_for(kQuiet);
  EXPECT_EQ(all<VcpusPlugged>(kA).size() + all<GuestExited>(kA).size(), 1u);
}
INSTANTIATE_TEST_SUITE_P(All, VcpuFault,
                         testing::Values("refuse=query-hotpluggable-cpus", "silent=query-hotpluggable-cpus",
                                         "garbage=query-hotpluggable-cpus", "hangup=query-hotpluggable-cpus",
                                         "exit=query-hotpluggable-cpus", "refuse=device_add",
                                         "silent=device_add", "garbage=device_add", "hangup=device_add",
                                         "exit=device_add"));

}  // namespace
}  // namespace understudy::qemu

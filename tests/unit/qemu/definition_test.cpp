// A guest's definition belongs to its run: what a daemon with another configuration makes of a guest that
// lives.
#include "hypervisor_fixture.hpp"
#include "qemu/accelerator.hpp"
#include "qemu/run_definition.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

RunDefinition definition() {
  RunDefinition definition;
  definition.run = 7;
  GuestPlan& plan = definition.plan;
  plan.name = "a";
  plan.base_bytes = 128_MiB;
  plan.area_bytes = 256_MiB;
  plan.slots = 24;
  plan.vcpus = 2;
  plan.more_vcpus = 3;
  plan.trust_domain = "red";
  plan.image = {"/img/vmlinux", "/img/initramfs", "/img/disk, with a comma"};
  plan.ports = {6379, 80};
  plan.closed_port = 2;
  plan.app_ports = {{"redis", 6379}, {"web", 80}};
  plan.told = "{\"type\":\"welcome\"}\n";
  definition.accelerator = Accelerator::kvm;
  definition.image_stamp = "1.2.3";
  definition.apps = {"redis", "web"};
  return definition;
}

TEST(RunDefinitionText, IsReadAsItWasWritten) {
  const auto read = decode_definition(encode(definition()));
  ASSERT_TRUE(read);
  EXPECT_EQ(encode(*read), encode(definition()));
  EXPECT_THAT(differences(*read, definition()), IsEmpty());
}

TEST(RunDefinitionText, WhatIsNotWholeIsNothing) {
  const std::string whole = encode(definition());
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(decode_definition(std::string_view(whole).substr(0, size))) << size;
  EXPECT_FALSE(decode_definition("[]"));
  EXPECT_FALSE(decode_definition("{}"));
  std::string wrong = whole;
  wrong.replace(wrong.find("\"slots\":24"), 10, "\"slots\":-1");
  EXPECT_FALSE(decode_definition(wrong));
}

// One key of a configuration that somebody changed between two daemons.
struct Change {
  const char* name;
  std::function<void(QemuHypervisor::Settings&)> apply;
  std::vector<std::string> differs;
};

std::vector<std::string> what(const std::vector<core::Difference>& differences) {
  std::vector<std::string> words;
  for (const core::Difference& each : differences) words.push_back(each.what);
  return words;
}

std::vector<Change> changes() {
  const auto plan = [](auto change) {
    return [change](QemuHypervisor::Settings& settings) { change(settings.guests[0]); };
  };
  return {
      {"nothing", [](QemuHypervisor::Settings&) {}, {}},
      {"base_memory", plan([](GuestPlan& p) { p.base_bytes = 256_MiB; }), {"base memory"}},
      {"slots", plan([](GuestPlan& p) { p.slots = 1; }), {"slots"}},
      {"vcpus", plan([](GuestPlan& p) { p.vcpus = 4; }), {"vCPUs"}},
      {"application_vcpus", plan([](GuestPlan& p) { p.more_vcpus = 4; }), {"places for applications' vCPUs"}},
      {"trust_domain", plan([](GuestPlan& p) { p.trust_domain = "blue"; }), {"trust domain"}},
      {"guest_port",
       plan([](GuestPlan& p) {
         p.ports = {6380};
         p.app_ports = {{"redis", 6380}};
       }),
       {"forwarded ports"}},
      {"another_application",
       plan([](GuestPlan& p) {
         p.ports = {1, 6379};
         p.app_ports["web"] = 1;
         p.closed_port = 2;
       }),
       {"forwarded ports"}},
      {"no_application",
       plan([](GuestPlan& p) {
         p.ports.clear();
         p.app_ports.clear();
       }),
       {"forwarded ports"}},
      {"image", plan([](GuestPlan& p) { p.image.kernel = "/boot/other"; }), {"kernel"}},
      {"accelerator",
       [](QemuHypervisor::Settings& s) { s.qemu.accelerator = Accelerator::kvm; },
       {"accelerator"}},
      {"order_of_guests", [](QemuHypervisor::Settings& s) { std::swap(s.guests[0], s.guests[1]); }, {}},
  };
}

struct ChangedFile : HypervisorTest, testing::WithParamInterface<Change> {};

TEST_P(ChangedFile, AGuestOfAnOlderDefinitionLivesOnAsWhatItIs) {
  launch();
  plug();
  const pid_t pid = processes().at(0).pid;
  const auto port = hypervisor->forwarded_port(kA, "redis");
  ASSERT_TRUE(port);
  GetParam().apply(settings);
  make_hypervisor();
  events.clear();
  const core::GuestRun run{{settings.guests[0].name == "a" ? 0U : 1U}, 1};
  hypervisor->adopt(run);
  const auto adopted = await<GuestAdopted>(run);
  EXPECT_TRUE(adopted.executing);
  EXPECT_THAT(adopted.areas, SizeIs(3));
  EXPECT_EQ(what(adopted.outdated), GetParam().differs);
  ASSERT_TRUE(adopted.definition);
  EXPECT_EQ(*adopted.definition, (core::Definition{128_MiB, 3, 1, "default"}));
  const bool leads_nowhere = settings.guests[run.guest.value].app_ports.count("web") != 0;
  EXPECT_EQ(adopted.no_port_for, leads_nowhere ? std::vector{core::AppId{1}} : std::vector<core::AppId>{});
  EXPECT_EQ(hypervisor->forwarded_port(run, "redis"), port);
  // It is probed, unplugged from, and nothing ends it.
  hypervisor->probe(run);
  EXPECT_TRUE(await<ProbeAnswer>(run).kernel_answers);
  hypervisor->unplug(run, kAreas);
  (void)await<AreaUnplugged>(run, 3);
  loop.run_for(kQuiet);
  EXPECT_THAT(all<GuestExited>(run), IsEmpty());
  ASSERT_THAT(processes(), SizeIs(1));
  EXPECT_EQ(processes().at(0).pid, pid);
  // Its next run is of the file.
  hypervisor->fence(run);
  (void)await<GuestFenced>(run);
  hypervisor->discard(run);
  (void)await<GuestGone>(run);
  const core::GuestRun next{run.guest, 2};
  hypervisor->launch(next);
  (void)await<GuestLaunched>(next);
  make_hypervisor();
  hypervisor->adopt(next);
  EXPECT_THAT(await<GuestAdopted>(next).outdated, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Keys, ChangedFile, testing::ValuesIn(changes()),
                         [](const auto& each) { return std::string(each.param.name); });

using RecordTest = HypervisorTest;

// An older daemon wrote nothing down, a full disk cut it short, a former run left its own.
TEST_F(RecordTest, WithoutARecordTheProcessItselfTells) {
  launch();
  const auto file = directory.path / "guests" / "a" / "definition";
  ASSERT_TRUE(read_definition(file));
  settings.guests[0].base_bytes = 256_MiB;
  settings.guests[0].slots = 9;
  settings.guests[0].ports = {6379, 6380};
  settings.guests[0].app_ports = {{"redis", 6379}, {"web", 6380}};
  settings.apps = {"redis", "web"};
  const std::function<void()> spoil[] = {[&] { std::filesystem::resize_file(file, 20); },
                                         [&] { std::filesystem::remove(file); },
                                         [&] {
                                           RunDefinition other = definition();
                                           other.run = 99;
                                           ASSERT_TRUE(write_definition(file, other));
                                         }};
  for (const auto& how : spoil) {
    how();
    make_hypervisor();
    events.clear();
    hypervisor->adopt(kA);
    const auto adopted = await<GuestAdopted>(kA);
    EXPECT_TRUE(adopted.executing);
    EXPECT_EQ(*adopted.definition, (core::Definition{128_MiB, 3, 1, ""}));
    EXPECT_THAT(what(adopted.outdated), ElementsAre("base memory", "slots", "forwarded ports"));
    EXPECT_THAT(adopted.no_port_for, ElementsAre(core::AppId{1})) << "no port of it leads to web";
    hypervisor->probe(kA);
    EXPECT_TRUE(await<ProbeAnswer>(kA).kernel_answers) << "the port on which nobody listens was found";
  }
  EXPECT_THAT(processes(), SizeIs(1));
}

TEST_F(RecordTest, TheAcceleratorOfALivingGuestIsAskedOfItsQemu) {
  faults("kvm");
  launch();
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  EXPECT_THAT(what(await<GuestAdopted>(kA).outdated), ElementsAre("accelerator")) << "it said that it is KVM";
}

// The names of vCPUs have numbers in them that another configuration gives to others.
TEST_F(RecordTest, TheVcpusOfAnApplicationAreItsOwnUnderAnyNumber) {
  settings.guests[0].more_vcpus = 3;
  make_hypervisor();
  launch();
  hypervisor->plug_vcpus(kA, {1}, 2);  // of web
  EXPECT_EQ(await<VcpusPlugged>(kA).count, 2u);
  const auto found = [this](std::vector<std::string> apps) {
    settings.apps = std::move(apps);
    make_hypervisor();
    events.clear();
    hypervisor->adopt(kA);
    std::map<std::string, std::uint32_t> counts;
    for (const auto& vcpus : await<GuestAdopted>(kA).vcpus)
      counts[settings.apps[vcpus.app.value]] = vcpus.count;
    return counts;
  };
  using Counts = std::map<std::string, std::uint32_t>;
  EXPECT_EQ(found({"web", "queue", "redis"}), (Counts{{"web", 2}}));
  hypervisor->plug_vcpus(kA, {1}, 1);  // of queue
  const auto plugged = await<VcpusPlugged>(kA);
  EXPECT_EQ(plugged.app, core::AppId{1});
  EXPECT_EQ(plugged.count, 1u) << plugged.why_not_all;
  EXPECT_EQ(found({"queue", "web"}), (Counts{{"queue", 1}, {"web", 2}}));
  EXPECT_EQ(found({"redis"}), Counts{}) << "of whoever is not there any more";
}

TEST_F(RecordTest, NothingIsTriedBesideGuestsThatLive) {
  EXPECT_EQ(former_accelerator(directory.path, settings.guests), std::nullopt);
  launch();
  EXPECT_EQ(former_accelerator(directory.path, settings.guests), Accelerator::tcg);
  std::filesystem::remove(directory.path / "guests" / "a" / "definition");
  EXPECT_EQ(former_accelerator(directory.path, settings.guests), Accelerator::tcg) << "its process tells";
  const auto device = directory.path / "kvm";  // opens, and no guest would boot on it
  std::ofstream(device) << "no device";
  Qemu no_qemu;
  no_qemu.program = "/nonexistent";
  const auto choice = choose_accelerator(no_qemu, config::Accelerator::automatic, {}, directory.path,
                                         milliseconds(100), device, std::nullopt, Accelerator::kvm);
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->accelerator, Accelerator::kvm) << "no guest was booted to find out";
  EXPECT_FALSE(std::filesystem::exists(directory.path / "guests" / "accelerator-trial"));
}

}  // namespace
}  // namespace understudy::qemu

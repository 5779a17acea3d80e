// The hypervisor with a real QEMU under real KVM, where /dev/kvm opens. A kernel need not boot there (nested
// virtualisation may be too slow or too incomplete for one), so the guest is a firmware of 86 bytes that does
// what the hypervisor needs a guest for: it says a line, and lets go of every DIMM and vCPU that it is asked
// for. What was never run on KVM is listed in docs/threat-model.md, "KVM".
#include "hypervisor_fixture.hpp"
#include "qemu/accelerator.hpp"
#include "qemu/proc.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using std::chrono::seconds;
using testing::HasSubstr;
namespace fs = std::filesystem;

// It runs in real mode, polls, and needs no interrupt.
constexpr std::array<unsigned char, 86> kLetsGo = {
    0xfa,                                                  // cli
    0xba, 0xd8, 0x0c, 0x66, 0x31, 0xc0, 0x66, 0xef,        // CPU hot-plug registers: leave legacy mode
    0xba, 0x02, 0x04,                                      // again: mov $0x402, %dx, where somebody listens
    0xb0, 0x75, 0xee, 0xb0, 0x70, 0xee, 0xb0, 0x0a, 0xee,  //   "up\n"
    0x66, 0x31, 0xc9,                                      // memory slots from 0
    0xba, 0x00, 0x0a, 0x66, 0x89, 0xc8, 0x66, 0xef,        //   select the slot
    0xba, 0x14, 0x0a, 0xec, 0xa8, 0x04, 0x74, 0x06,        //   its flags: asked to let go?
    0xb0, 0x04, 0xee, 0xb0, 0x08, 0xee,                    //     heard; eject
    0x41, 0x81, 0xf9, 0x00, 0x01, 0x72, 0xe3,              //   to 255
    0x66, 0x31, 0xc9,                                      // vCPUs from 0
    0xba, 0xd8, 0x0c, 0x66, 0x89, 0xc8, 0x66, 0xef,        //   select it
    0xba, 0xdc, 0x0c, 0xec, 0xa8, 0x04, 0x74, 0x06,        //   its flags: asked to let go?
    0xb0, 0x04, 0xee, 0xb0, 0x08, 0xee,                    //     heard; eject
    0x41, 0x83, 0xf9, 0x08, 0x72, 0xe4,                    //   to 7
    0xeb, 0xb3};                                           // jmp again
constexpr std::array<unsigned char, 2> kHalts = {0xfa, 0xf4};  // cli, hlt: says nothing, for ever

template <std::size_t Size>
void write_firmware(const fs::path& file, const std::array<unsigned char, Size>& code) {
  std::string rom(64 << 10, '\xf4');
  std::copy(code.begin(), code.end(), rom.begin());
  const std::string jump = {'\xe9', '\x0d', '\x00'};  // from the reset vector, f000:fff0, to f000:0000
  rom.replace(0xfff0, jump.size(), jump);
  std::ofstream(file, std::ios::binary) << rom;
}

std::string why_no_kvm() {
  const UniqueFd device(::open(kKvmDevice, O_RDWR | O_CLOEXEC));
  if (!device) return std::string(kKvmDevice) + " does not open: " + std::strerror(errno);
  if (const auto qemu = find_qemu(); !qemu) return qemu.error().message;
  return "";
}

struct KvmTest : HypervisorTest {
  static constexpr std::uint32_t kSlots = 256;  // as many as a q35 machine has
  std::vector<core::AreaId> every;

  void SetUp() override {
    if (const std::string why = why_no_kvm(); !why.empty()) GTEST_SKIP() << why;
    for (std::uint32_t i = 0; i < kSlots; ++i) every.push_back({i});
    area_count = kSlots;
    HypervisorTest::SetUp();
    ::unsetenv(kFakeQemuVariable);
    write_firmware(directory.path / "lets-go", kLetsGo);
    write_firmware(directory.path / "halts", kHalts);
    write_program("host,-arch-capabilities");
    settings.qemu = find_qemu().value();
    settings.qemu.program = (directory.path / "qemu").string();
    settings.qemu.accelerator = Accelerator::kvm;
    settings.qemu.firmware = directory.path / "lets-go";
    for (GuestPlan& plan : settings.guests) {
      plan.slots = kSlots;
      plan.more_vcpus = 3;
    }
    settings.dumps.limit = seconds(60);
    settings.limits = {};
    settings.limits.plug = seconds(60);
    settings.limits.unplug = seconds(120);
    make_hypervisor();
  }
  // The real QEMU without a kernel to boot. What the agent would say, the firmware says at its port. Not
  // every host has all that "host" has: nested ones have been seen to abort for it.
  void write_program(const std::string& cpu) const {
    const fs::path program = directory.path / "qemu";
    std::ofstream(program) << "#!/bin/bash\nargs=()\nwhile [ $# -gt 0 ]; do\n  case $1 in\n"
                              "    -kernel | -initrd | -append) shift ;;\n"
                              "    host) args+=("
                           << cpu
                           << ") ;;\n"
                              "    virtserialport,*) args+=(isa-debugcon,iobase=0x402,chardev=agent) ;;\n"
                              "    *) args+=(\"$1\") ;;\n  esac\n  shift\ndone\n"
                              "exec qemu-system-x86_64 \"${args[@]}\"\n";
    fs::permissions(program, fs::perms::owner_all);
  }
  template <class E>
  void await_long(core::GuestRun run, std::size_t count) {
    ASSERT_TRUE(loop.until([&] { return all<E>(run).size() >= count || !all<GuestExited>(run).empty(); },
                           seconds(150)));
    ASSERT_EQ(all<E>(run).size(), count)
        << (all<GuestExited>(run).empty() ? "" : all<GuestExited>(run).back().how);
  }
};

TEST_F(KvmTest, EverySlotIsPluggedAdoptedAndUnplugged) {
  launch();
  hypervisor->plug(kA, every);
  await_long<AreaPlugged>(kA, kSlots);
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  const auto adopted = await<GuestAdopted>(kA);
  EXPECT_TRUE(adopted.executing);
  EXPECT_EQ(adopted.areas.size(), kSlots);
  hypervisor->unplug(kA, every);
  await_long<AreaUnplugged>(kA, kSlots);
  EXPECT_TRUE(all<UnplugFailed>(kA).empty());
  hypervisor->plug(kA, std::span(every).first(2));  // and its slots are free again
  await_long<AreaPlugged>(kA, 2);
  ASSERT_TRUE(hypervisor->sigkill(kA));
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("process is gone"));
}

TEST_F(KvmTest, VcpusComeAndGoAndComeAgain) {
  launch();
  hypervisor->plug_vcpus(kA, {0}, 3);
  EXPECT_EQ(await<VcpusPlugged>(kA).count, 3u) << await<VcpusPlugged>(kA).why_not_all;
  // The next daemon would launch guests under TCG; this one is asked what it runs under (query-kvm).
  settings.qemu.accelerator = Accelerator::tcg;
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  const auto adopted = await<GuestAdopted>(kA);
  ASSERT_NE(hypervisor->definition(kA), nullptr);
  EXPECT_EQ(hypervisor->definition(kA)->accelerator, Accelerator::kvm);
  ASSERT_EQ(adopted.vcpus.size(), 1u);
  EXPECT_EQ(adopted.vcpus[0].count, 3u);
  hypervisor->unplug_vcpus(kA, {0});
  EXPECT_EQ(await<VcpusUnplugged>(kA).left, 0u) << await<VcpusUnplugged>(kA).why_not_all;
  hypervisor->plug_vcpus(kA, {0}, 2);
  EXPECT_EQ(await<VcpusPlugged>(kA).count, 2u) << await<VcpusPlugged>(kA).why_not_all;
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
}

TEST_F(KvmTest, AFenceHoldsItTwiceAndADumpIsTakenOfIt) {
  launch();
  hypervisor->plug(kA, std::span(every).first(3));
  await_long<AreaPlugged>(kA, 3);
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("QEMU says \"paused\""));
  EXPECT_TRUE(all_threads_stopped(pid)) << threads_left(pid);
  // KVM's own threads are counted with it.
  const VcpuProgress before = vcpu_progress(pid);
  EXPECT_GT(before.cpu_ns, 0u) << "its firmware polled";
  // Somebody lets its threads go on, and it still executes nothing.
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  loop.run_for(std::chrono::milliseconds(200));
  EXPECT_LT(vcpu_progress(pid).cpu_ns - before.cpu_ns, 20'000'000u);
  hypervisor->dump(kA);
  ASSERT_TRUE(loop.until([&] { return !all<DumpDone>(kA).empty(); }, seconds(60)));
  const auto done = await<DumpDone>(kA);
  ASSERT_EQ(done.why_not, "");
  EXPECT_GE(fs::file_size(done.file), 128_MiB);
  EXPECT_TRUE(loop.until([&] {
    loop.run_for(std::chrono::milliseconds(1));
    return all_threads_stopped(pid);
  })) << threads_left(pid);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_TRUE(processes().empty());
}

TEST_F(KvmTest, AHangIsProbedAndFencedByTheEndOfItsProcess) {
  launch();
  hypervisor->probe(kA);
  const auto lives = await<ProbeAnswer>(kA);
  EXPECT_FALSE(lives.kernel_answers) << "there is no kernel";
  ASSERT_TRUE(hypervisor->sigstop(kA));
  hypervisor->probe(kA);
  EXPECT_THAT(await<ProbeAnswer>(kA, 2).evidence, HasSubstr("state T"));
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("state T"));
  EXPECT_TRUE(all_threads_over(pid));
}

TEST_F(KvmTest, TheNextDaemonDiscardsAGuestThatIsHeld) {
  launch();
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  make_hypervisor();
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_TRUE(processes().empty());
}

// ---- the trial of KVM: each of its outcomes, but those of a device that does not open ----

struct KvmTrial : KvmTest {
  [[nodiscard]] AcceleratorChoice choose(Duration limit = seconds(20)) const {
    const auto choice =
        choose_accelerator(settings.qemu, config::Accelerator::automatic, {}, directory.path, limit);
    EXPECT_TRUE(choice) << choice.error().message;
    EXPECT_FALSE(fs::exists(directory.path / "guests" / "accelerator-trial"));
    EXPECT_TRUE(processes().empty());
    return choice.value_or(AcceleratorChoice{});
  }
};

TEST_F(KvmTrial, AGuestThatSaysSomethingIsTheProof) {
  const AcceleratorChoice choice = choose();
  EXPECT_EQ(choice.accelerator, Accelerator::kvm) << choice.reason;
  EXPECT_THAT(choice.reason, HasSubstr("a guest booted on it in"));
}

TEST_F(KvmTrial, AGuestThatSaysNothingIsNone) {
  settings.qemu.firmware = directory.path / "halts";
  const AcceleratorChoice choice = choose(std::chrono::milliseconds(1500));
  EXPECT_EQ(choice.accelerator, Accelerator::tcg);
  EXPECT_THAT(choice.reason, HasSubstr("said nothing within 1500 ms"));
}

TEST_F(KvmTrial, AQemuThatEndsIsToldOfInItsWords) {
  write_program("no-such-model");
  const AcceleratorChoice choice = choose();
  EXPECT_EQ(choice.accelerator, Accelerator::tcg);
  EXPECT_THAT(choice.reason, HasSubstr("QEMU ended when it booted a guest on it (exit status 1"));
  EXPECT_THAT(choice.reason, HasSubstr("no-such-model"));
}

}  // namespace
}  // namespace understudy::qemu

#include "qemu/accelerator.hpp"

#include "fake_qemu.hpp"
#include "loop.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace understudy::qemu {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr auto kLimit = milliseconds(400);

struct AcceleratorTest : testing::Test {
  TemporaryDirectory directory;
  Qemu qemu;
  std::filesystem::path device = directory.path / "kvm";

  void SetUp() override { std::ofstream(device) << ""; }
  void TearDown() override { ::unsetenv(kFakeQemuVariable); }

  void script(const std::string& text) {
    qemu.program = directory.path / "qemu.sh";
    std::ofstream(qemu.program) << "#!/bin/sh\n" << text << "\n";
    ::chmod(qemu.program.c_str(), 0755);
  }
  AcceleratorChoice choose(config::Accelerator wish = config::Accelerator::automatic) const {
    const auto choice = choose_accelerator(qemu, wish, {}, directory.path, kLimit, device);
    EXPECT_TRUE(choice) << choice.error().message;
    return choice.value_or(AcceleratorChoice{});
  }
};

TEST_F(AcceleratorTest, NoDeviceMeansTcgAndSaysSo) {
  std::filesystem::remove(device);
  const auto choice = choose();
  EXPECT_EQ(choice.accelerator, Accelerator::tcg);
  EXPECT_EQ(choice.reason, "there is no " + device.string());
}

TEST_F(AcceleratorTest, NoPermissionMeansTcgAndSaysWhatToDo) {
  if (::geteuid() == 0) {
    // Root may open anything but this.
    device = "/proc/version";
    EXPECT_EQ(choose().accelerator, Accelerator::tcg);
    return;
  }
  ::chmod(device.c_str(), 0);
  const auto choice = choose();
  EXPECT_EQ(choice.accelerator, Accelerator::tcg);
  EXPECT_THAT(choice.reason, HasSubstr("join the group kvm"));
}

TEST_F(AcceleratorTest, AGuestThatHangsUnderKvmMeansTcgAfterTheLimit) {
  script("exec sleep 1000");
  const auto choice = choose();
  EXPECT_EQ(choice.accelerator, Accelerator::tcg);
  EXPECT_THAT(choice.reason, HasSubstr("said nothing within 400 ms"));
  EXPECT_GE(choice.took, kLimit);
  EXPECT_LT(choice.took, kLimit + std::chrono::seconds(1));
  EXPECT_FALSE(std::filesystem::exists(directory.path / "guests" / "accelerator-trial"));
  EXPECT_TRUE(find_processes(directory.path).empty()) << "left behind";
}

TEST_F(AcceleratorTest, AQemuThatAbortsMeansTcgWithItsWords) {
  script("echo 'error: failed to set MSR 0x10a to 0x0' >&2; kill -ABRT $$");
  const auto choice = choose();
  EXPECT_EQ(choice.accelerator, Accelerator::tcg);
  EXPECT_THAT(choice.reason, HasSubstr("SIGABRT"));
  EXPECT_THAT(choice.reason, HasSubstr("failed to set MSR 0x10a"));
  EXPECT_LT(choice.took, kLimit) << "waited for a process that was gone";
}

TEST_F(AcceleratorTest, AGuestThatAnswersMeansKvm) {
  qemu.program = kFakeQemu;
  ::setenv(kFakeQemuVariable, "hello", 1);
  const auto choice = choose();
  EXPECT_EQ(choice.accelerator, Accelerator::kvm);
  EXPECT_STREQ(choice.name(), "KVM");
  EXPECT_THAT(choice.reason, HasSubstr("a guest booted on it in"));
  EXPECT_TRUE(find_processes(directory.path).empty()) << "left behind";
}

TEST_F(AcceleratorTest, AWishIsFollowedWithoutATrial) {
  script("echo tried > " + (directory.path / "tried").string());
  EXPECT_EQ(choose(config::Accelerator::kvm).accelerator, Accelerator::kvm);
  EXPECT_EQ(choose(config::Accelerator::tcg).accelerator, Accelerator::tcg);
  EXPECT_FALSE(std::filesystem::exists(directory.path / "tried"));
  std::filesystem::remove(device);
  const auto refused = choose_accelerator(qemu, config::Accelerator::kvm, {}, directory.path, kLimit, device);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("accelerator = \"kvm\" is configured, but there is no"));
}

TEST_F(AcceleratorTest, AQemuThatIsNotInstalledIsAClearError) {
  const auto found = find_qemu("no-such-qemu");
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("apt install qemu-system-x86"));
}

TEST_F(AcceleratorTest, TheSandboxIsUsedWhereQemuHasIt) {
  script("exit 0");
  EXPECT_TRUE(find_qemu(qemu.program)->sandbox);
  script("echo '-sandbox support is not enabled in this QEMU binary' >&2; exit 1");
  EXPECT_FALSE(find_qemu(qemu.program)->sandbox);
}

}  // namespace
}  // namespace understudy::qemu

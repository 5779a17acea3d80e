#include "agent/kernel_limits.hpp"

#include "directory.hpp"

#include <gtest/gtest.h>

namespace understudy::agent {
namespace {

class KernelLimitsTest : public testing::Test {
 protected:
  KernelLimitsTest() {
    files.write("kernel/threads-max", "783\n");
    files.write("fs/file-max", "8192\n");
    files.write("net/ipv4/tcp_mem", "1176\t1569\t2352\n");
    files.write("net/ipv4/tcp_rmem", "4096\t131072\t802368\n");
    files.write("user/max_user_namespaces", "391\n");
  }
  void adjust(Bytes total) {
    limits->adjust(total, [this](const std::string& text) { said.push_back(text); });
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::string text = files.read(name);
    if (text.ends_with("\n")) text.pop_back();
    return text;
  }
  [[nodiscard]] std::uint64_t number(const std::string& name) const { return std::stoull(files.read(name)); }

  test::Directory files;
  std::vector<std::string> said;
  // A guest of 128 MiB, as its kernel counts it.
  std::unique_ptr<KernelLimits> limits;
};

// 313 processes and 8,158 descriptors were to be had in a guest that was given 1 GiB.
TEST_F(KernelLimitsTest, AreRaisedWithTheMemoryAndLoweredWithIt) {
  limits = std::make_unique<KernelLimits>(files.path(), 105_MiB);
  EXPECT_EQ(limits->processes(), 783u);
  adjust(1129_MiB);
  EXPECT_GT(number("kernel/threads-max"), 2 * 783u);
  EXPECT_EQ(limits->processes(), number("kernel/threads-max"));
  EXPECT_GT(number("fs/file-max"), 5 * 8192u);
  EXPECT_EQ(number("user/max_user_namespaces"), limits->processes() / 2);
  EXPECT_EQ(read("net/ipv4/tcp_rmem"), "4096 131072 6291456");
  adjust(105_MiB);
  EXPECT_EQ(limits->processes(), 840u);
  EXPECT_EQ(read("net/ipv4/tcp_mem"), "1260 1680 2520");
  EXPECT_TRUE(said.empty());
}

// What they limit has to fit into the base memory, whatever is given in areas.
TEST_F(KernelLimitsTest, StayWithinWhatTheBaseMemoryCarries) {
  limits = std::make_unique<KernelLimits>(files.path(), 105_MiB);
  adjust(1024_GiB);
  EXPECT_LE(number("kernel/threads-max") * 24_KiB, 105_MiB / 2);
  EXPECT_LE(number("fs/file-max") * 512, 105_MiB / 4);
  const std::string pages = files.read("net/ipv4/tcp_mem");
  EXPECT_LE(std::stoull(pages.substr(pages.rfind(' '))) * 4_KiB, 105_MiB / 4);
}

TEST_F(KernelLimitsTest, NeverFallBelowWhatTheKernelChose) {
  limits = std::make_unique<KernelLimits>(files.path(), 105_MiB);
  adjust(1129_MiB);
  adjust(1_MiB);
  EXPECT_EQ(limits->processes(), 783u);
  EXPECT_EQ(read("net/ipv4/tcp_mem"), "1176 1569 2352");
}

TEST_F(KernelLimitsTest, ProcessesAreSharedOutWithRoomForTheRest) {
  limits = std::make_unique<KernelLimits>(files.path(), 105_MiB);
  EXPECT_EQ(limits->processes_of_each(1), 783u - 128);
  EXPECT_EQ(limits->processes_of_each(5), (783u - 128) / 5);
  EXPECT_EQ(limits->processes_of_each(0), limits->processes_of_each(1));
  EXPECT_EQ(limits->processes_of_each(1000), 32u) << "with fewer nothing can be run";
  adjust(1129_MiB);
  EXPECT_EQ(limits->processes_of_each(2), (limits->processes() - limits->processes() / 8) / 2);
  files.write("kernel/pid_max", "400\n");
  EXPECT_EQ(limits->processes_of_each(2), (400u - 128) / 2) << "the kernel has no more numbers for them";
  files.write("kernel/threads-max", "100\n");
  EXPECT_EQ(KernelLimits(files.path(), 105_MiB).processes_of_each(1), 50u);
  EXPECT_EQ(KernelLimits(files.path() + "/none", 105_MiB).processes_of_each(1), 0u);
}

TEST_F(KernelLimitsTest, WhatIsNotThereIsPassedOver) {
  limits = std::make_unique<KernelLimits>(files.path() + "/none", 105_MiB);
  adjust(1129_MiB);
  EXPECT_EQ(limits->processes(), 0u);
  EXPECT_TRUE(said.empty());
}

TEST_F(KernelLimitsTest, WhatCannotBeWrittenIsSaidOnce) {
  limits = std::make_unique<KernelLimits>(files.path(), 105_MiB);
  for (const char* name : {"kernel/threads-max", "fs/file-max"}) {
    std::filesystem::remove(files.path() + "/" + name);
    std::filesystem::create_directory(files.path() + "/" + name);
  }
  adjust(1129_MiB);
  adjust(1257_MiB);
  EXPECT_EQ(said.size(), 1u);
}

}  // namespace
}  // namespace understudy::agent

// Dumps of guests that have failed.
#include "hypervisor_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using testing::HasSubstr;

TEST_F(HypervisorTest, ADumpIsOfTheBaseMemoryAlone) {
  launch();
  plug();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->dump(kA);
  const auto done = await<DumpDone>(kA);
  EXPECT_THAT(done.file, HasSubstr("/dumps/a-")) << done.why_not;
  std::ifstream in(done.file);
  std::string arguments;
  std::getline(in, arguments);
  EXPECT_THAT(arguments, HasSubstr(R"("begin":0,"length":134217728)"));
  EXPECT_THAT(arguments, HasSubstr(R"("paging":false)"));
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(all<DumpDone>(kA).size(), 1u);
  EXPECT_TRUE(std::filesystem::exists(done.file)) << "a dump stays when its guest goes";
}

TEST_F(HypervisorTest, ThereIsNoDumpOfWhatRunsOrWasKilled) {
  hypervisor->dump(kA);
  EXPECT_THAT(await<DumpDone>(kA).why_not, HasSubstr("no process"));
  launch();
  hypervisor->dump(kA);
  EXPECT_THAT(await<DumpDone>(kA, 2).why_not, HasSubstr("not stopped"));
  ASSERT_TRUE(hypervisor->sigstop(kA));
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->dump(kA);
  EXPECT_THAT(await<DumpDone>(kA, 3).why_not, HasSubstr("had to be killed"));
}

struct DumpFault : HypervisorTest, testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Every, DumpFault,
                         testing::Values("refuse=dump-guest-memory", "silent=dump-guest-memory",
                                         "exit=dump-guest-memory", "hangup=dump-guest-memory",
                                         "garbage=dump-guest-memory", "dump-hangs", "dump-fails"),
                         [](const auto& fault) {
                           std::string name = fault.param;
                           for (char& c : name) c = c == '-' || c == '=' ? '_' : c;
                           return name;
                         });

TEST_P(DumpFault, IsAnsweredOnceLeavesNoFileAndKeepsNobodyFromDiscardingIt) {
  faults(GetParam());
  launch();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->dump(kA);
  const auto done = await<DumpDone>(kA);
  EXPECT_EQ(done.file, "");
  EXPECT_FALSE(done.why_not.empty());
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(all<DumpDone>(kA).size(), 1u);
  EXPECT_TRUE(std::filesystem::is_empty(settings.dumps.directory));
}

TEST_F(HypervisorTest, ADiscardDoesNotWaitForADump) {
  settings.dumps.limit = std::chrono::minutes(1);
  faults("dump-hangs");
  make_hypervisor();
  launch();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->dump(kA);
  hypervisor->discard(kA);
  EXPECT_THAT(await<DumpDone>(kA).why_not, HasSubstr("discarded"));
  (void)await<GuestGone>(kA);
  // What was begun of it beside the loop, its directory included, comes late, and goes again.
  const auto left = [&] {
    std::error_code none_yet;
    return std::distance(std::filesystem::directory_iterator(settings.dumps.directory, none_yet), {});
  };
  EXPECT_TRUE(loop.until([&] { return std::filesystem::exists(settings.dumps.directory) && left() == 0; }));
}

}  // namespace
}  // namespace understudy::qemu

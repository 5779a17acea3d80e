#include "agent/cpus.hpp"

#include "directory.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;

Uevent event(const std::string& action, const std::string& name, const std::string& subsystem = "cpu") {
  return {action, "/devices/system/cpu/" + name, subsystem};
}

class CpusTest : public testing::Test {
 protected:
  CpusTest()
      : loop(*Loop::create()),
        children(*Children::create(*loop)),
        cpus(*children, directory.path(), [this](const std::string& text) { said.push_back(text); }) {
    directory.write("online", "0-1\n");
    directory.write("cpu1/online", "0\n");
    directory.write("cpu2/online", "0\n");
    directory.write("cpufreq/online", "0\n");
  }
  // Until it has been said what came of so many vCPUs.
  void until_said(std::size_t count) {
    const Time end = Loop::now() + 10s;
    while (said.size() < count && Loop::now() < end) loop->run_once(100ms);
    EXPECT_EQ(said.size(), count);
  }

  test::Directory directory;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Children> children;
  std::vector<std::string> said;
  Cpus cpus;
};

TEST_F(CpusTest, AreBroughtOnlineWhenTheKernelFindsThem) {
  cpus.on_uevent(event("add", "cpu1"));
  EXPECT_TRUE(said.empty()) << "the loop was held up";
  until_said(1);
  EXPECT_EQ(directory.read("cpu1/online").substr(0, 1), "1");
  EXPECT_EQ(said[0], "vCPU 1 is online; online now: 0-1");
  EXPECT_EQ(directory.read("cpu2/online"), "0\n");
}

TEST_F(CpusTest, OtherEventsAndOtherNamesChangeNothing) {
  cpus.on_uevent(event("remove", "cpu1"));
  cpus.on_uevent(event("add", "cpu1", "memory"));
  cpus.on_uevent(event("add", "cpufreq"));
  cpus.on_uevent(event("add", "cpu99"));
  loop->run_once(20ms);
  EXPECT_TRUE(said.empty());
  EXPECT_EQ(directory.read("cpu1/online"), "0\n");
  EXPECT_EQ(directory.read("cpufreq/online"), "0\n");
}

TEST_F(CpusTest, OneThatIsOnlineIsLeftAlone) {
  directory.write("cpu1/online", "1\n");
  cpus.on_uevent(event("add", "cpu1"));
  loop->run_once(20ms);
  EXPECT_TRUE(said.empty());
}

TEST_F(CpusTest, AfterMissedEventsAllThatAreOfflineAreFound) {
  cpus.look_again();
  cpus.look_again();
  until_said(2);
  EXPECT_EQ(directory.read("cpu1/online").substr(0, 1), "1");
  EXPECT_EQ(directory.read("cpu2/online").substr(0, 1), "1");
}

TEST(CpuNumber, IsThatOfACpuAndOfNothingElse) {
  EXPECT_EQ(cpu_number("cpu12"), 12U);
  for (const char* name : {"cpu", "cpuidle", "cpu1x", "node0"}) EXPECT_FALSE(cpu_number(name)) << name;
}

}  // namespace
}  // namespace understudy::agent

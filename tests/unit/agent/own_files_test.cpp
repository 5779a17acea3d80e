// What an application writes is its own, lasts from its start to its end, and is gone before its end is said.
#include "agent/own_files.hpp"

#include "harness.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using test::can_isolate;
using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

class OwnFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_isolate())
      GTEST_SKIP() << "no right to make namespaces and mounts here, or / is no mount (a plain chroot)";
    ASSERT_NE(::mkdtemp(data), nullptr);  // in sight of applications in an ordinary guest
    cgroup = std::make_unique<test::CgroupRoot>(test::find_cgroup_root());
    begin(OwnFilesOf::an_ordinary_guest);
  }
  void TearDown() override {
    harness.reset();
    std::filesystem::remove_all(data);
  }
  void begin(OwnFilesOf which) {
    harness.reset();
    harness = std::make_unique<Harness>(cgroup->made() ? cgroup->path() : "", which);
  }
  from::Serving start(const protocol::Application& app, protocol::Epoch epoch = 7) {
    if (epoch == 7) harness->welcome({app});
    harness->send(to::Start{1, epoch, 64_MiB, {}});
    return harness->hear<from::Serving>();
  }
  // Of a program that says something and fails.
  std::string evidence(const std::string& text) {
    auto app = script(text + "; exit 1");
    app.ready = protocol::Ready::notify;
    harness->welcome({app});
    harness->send(to::Start{1, 7, 64_MiB, {}});
    const auto failed = harness->hear<from::StartFailed>();
    EXPECT_EQ(failed.why, "exit status 1");
    return failed.evidence;
  }
  [[nodiscard]] std::string file(const std::string& name) const { return std::string(data) + "/" + name; }
  [[nodiscard]] static std::string mounts_of(const std::string& process) {
    char text[64] = {};
    (void)!::readlink(("/proc/" + process + "/ns/mnt").c_str(), text, sizeof text - 1);
    return text;
  }
  // Processes that have these mounts.
  [[nodiscard]] static int in_sight_of(const std::string& mounts) {
    int found = 0;
    for (const std::string& name : list_directory("/proc"))
      found += parse_number(name) && mounts_of(name) == mounts;
    return found;
  }

  char data[64] = "/understudy-test-XXXXXX";
  std::unique_ptr<test::CgroupRoot> cgroup;
  std::unique_ptr<Harness> harness;
};

TEST_F(OwnFilesTest, OutliveARestartInPlaceAndEndWithIt) {
  const std::string count = file("count");
  auto app = script(
      "echo start >> /tmp/starts; echo start >> /dev/shm/starts; cat /tmp/starts /dev/shm/starts | wc -l > " +
      count + ".new; mv " + count + ".new " + count + "; exec sleep 60");
  // The check has to look where the application is.
  app.health = {protocol::HealthKind::exec, 0, {"/bin/sh", "-c", "test -s /tmp/starts"}, 20, 30'000, 2};
  const auto counted = [&](const std::string& text) {
    return harness->until([&] { return read_file(count).value_or("") == text; });
  };
  const auto serving = start(app);
  EXPECT_TRUE(counted("2\n"));
  EXPECT_FALSE(exists("/tmp/starts"));
  EXPECT_FALSE(exists("/dev/shm/starts"));
  const std::string mounts = mounts_of(std::to_string(serving.pid));
  ::kill(static_cast<pid_t>(serving.pid), SIGKILL);
  (void)harness->hear<from::Restarting>();
  (void)harness->hear<from::Serving>();
  EXPECT_TRUE(counted("4\n"));
  EXPECT_GT(in_sight_of(mounts), 0);
  harness->send(to::Stop{1, 7});
  (void)harness->hear<from::Stopped>();
  EXPECT_EQ(in_sight_of(mounts), 0) << "something still holds what it wrote";
  (void)start(app, 8);
  EXPECT_TRUE(counted("2\n"));
  harness->send(to::Stop{1, 8});
  (void)harness->hear<from::Stopped>();
}

TEST_F(OwnFilesTest, AreGoneBeforeItIsSaidToBeGivenUp) {
  auto app = script("echo some > /tmp/some; exec sleep 60");
  app.restart.attempts = 0;
  const auto serving = start(app);
  const std::string mounts = mounts_of(std::to_string(serving.pid));
  EXPECT_GT(in_sight_of(mounts), 0);
  ::kill(static_cast<pid_t>(serving.pid), SIGKILL);
  (void)harness->hear<from::Faulted>();
  EXPECT_EQ(in_sight_of(mounts), 0);
}

TEST_F(OwnFilesTest, MayHoldAsMuchAsItsMemory) {
  const std::string said = evidence(
      "df -Pk /tmp /dev/shm | awk 'NR > 1 {print $2, $6}'; df -Pi /tmp | awk 'NR > 1 {print ($2 > 100)}'");
  EXPECT_EQ(said, "65536 /tmp\n65536 /dev/shm\n1\n");
}

TEST_F(OwnFilesTest, GrowWithItsMemory) {
  const std::string size = file("size");
  const auto app = script("df -Pk /tmp | awk 'NR > 1 {print $2}' > " + size + ".new; mv " + size + ".new " +
                          size + "; exec sleep 60");
  const auto serving = start(app);
  ASSERT_TRUE(harness->until([&] { return exists(size); }));
  EXPECT_EQ(*read_file(size), "65536\n");
  std::filesystem::remove(size);
  harness->send(to::Start{1, 7, 96_MiB, {}});  // of the same epoch: more memory for its next life
  (void)harness->hear<from::Serving>();
  ::kill(static_cast<pid_t>(serving.pid), SIGKILL);
  (void)harness->hear<from::Restarting>();
  (void)harness->hear<from::Serving>();
  ASSERT_TRUE(harness->until([&] { return exists(size); }));
  EXPECT_EQ(*read_file(size), "98304\n");
}

TEST_F(OwnFilesTest, AreAllThatItMayWriteToInOurImage) {
  begin(OwnFilesOf::our_image);
  const std::string said = evidence(
      "for d in / /usr /etc; do touch $d/understudy-test 2>/dev/null && echo wrote to $d; done; "
      "for d in /tmp /var /var/tmp /run /dev/shm $HOME; do touch $d/it || echo not to $d; done; "
      "test -S $NOTIFY_SOCKET && echo notifies");
  EXPECT_EQ(said, "notifies\n");
  EXPECT_FALSE(exists("/var/it") || exists("/run/it") || exists("/root/it"));
}

TEST_F(OwnFilesTest, ItSeesOfTheCgroupsWhatIsBelowItsOwn) {
  if (!cgroup->made() || !exists("/sys/fs/cgroup/cgroup.procs")) GTEST_SKIP() << "no writable cgroup v2 here";
  EXPECT_EQ(
      evidence(
          "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/mine && echo 0 > /sys/fs/cgroup/mine/cgroup.procs && "
          "cat /proc/self/cgroup"),
      "0::/\n0::/mine\n");
  EXPECT_FALSE(exists("/sys/fs/cgroup/mine"));
}

TEST_F(OwnFilesTest, ARehearsalHasThemToo) {
  constexpr protocol::AppNumber kTwin = 9;
  auto app =
      script("echo mine > /var/tmp/understudy-test && echo mine > /dev/shm/understudy-test && exec sleep 60");
  app.rehearsal = kTwin;
  harness->welcome({app});
  harness->send(to::Start{kTwin, 3, 0, {}});
  (void)harness->hear<from::Serving>();
  EXPECT_FALSE(exists("/var/tmp/understudy-test"));
  harness->send(to::Stop{kTwin, 3});
  (void)harness->hear<from::Stopped>();
}

TEST(OwnFiles, TheirNumberIsBoundedByTheBaseMemory) {
  EXPECT_EQ(most_files(1_GiB, 128_MiB), 32'768u);
  EXPECT_EQ(most_files(64_GiB, 128_MiB), 32'768u);
  EXPECT_EQ(most_files(64_MiB, 128_MiB), 4096u);
}

}  // namespace
}  // namespace understudy::agent

#include "qemu/qemu_cgroup.hpp"

#include "base/cgroup.hpp"
#include "hypervisor_fixture.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

// What works in any cgroup v2. That the limits hold is tried in a guest's kernel, which has the controllers:
// tests/e2e/cgroups.py.
namespace understudy::qemu {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;
using namespace core::event;

// A cgroup to make others in; gone with the test.
struct TopCgroup {
  TopCgroup() {
    const auto own = cgroup_of(::getpid());
    if (!own) return;
    static int made = 0;
    const std::string wanted = *own + "/us-qemu-" + std::to_string(::getpid()) + "-" + std::to_string(made++);
    if (::mkdir(wanted.c_str(), 0755) == 0) directory = wanted;
  }
  ~TopCgroup() {
    if (directory.empty()) return;
    for (const std::string& name : names()) ::rmdir((directory + "/" + name).c_str());
    ::rmdir(directory.c_str());
  }
  TopCgroup(const TopCgroup&) = delete;
  TopCgroup& operator=(const TopCgroup&) = delete;

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& each : std::filesystem::directory_iterator(directory)) {
      if (each.is_directory()) found.push_back(each.path().filename());
    }
    return found;
  }
  std::string directory;  // empty: none can be made here
};

std::string name_of(const QemuCgroup& cgroup) {
  return std::filesystem::path(cgroup.directory()).filename();
}

struct QemuCgroupTest : testing::Test {
  void SetUp() override {
    if (top.directory.empty()) GTEST_SKIP() << "no cgroup v2 can be made here";
  }
  QemuCgroup make(const Marker& its) const {
    auto made = QemuCgroup::make(top.directory, its, 1_GiB);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  pid_t start(const QemuCgroup& cgroup, int directory_fd) const {
    SpawnSpec spec{{"/bin/sleep", "100"}, directory.path / "log", {}};
    spec.cgroup = directory_fd;
    spec.cgroup_processes = cgroup.processes_fd();
    const auto pid = spawn_process(spec);
    EXPECT_TRUE(pid) << pid.error().message;
    return *pid;
  }
  static void end(pid_t pid) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }

  TopCgroup top;
  TemporaryDirectory directory;
  Marker marker{"/run/understudy-test", "a", 1};
};

TEST_F(QemuCgroupTest, HoldsItsProcessAndGoesWhenThatHasEnded) {
  const QemuCgroup cgroup = make(marker);
  const pid_t pid = start(cgroup, cgroup.directory_fd());
  EXPECT_EQ(cgroup_of(pid).value_or(""), cgroup.directory());
  const auto found = QemuCgroup::of(pid, marker);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->directory(), cgroup.directory());
  EXPECT_FALSE(QemuCgroup::of(pid, {marker.run_dir, "a", 2}));
  EXPECT_FALSE(QemuCgroup::of(pid, {"/run/other", "a", 1}));
  EXPECT_EQ(cgroup.ended_by_limit(), "");
  found->remove();
  EXPECT_EQ(top.names().size(), 1U) << "somebody is in it";
  end(pid);
  found->remove();
  EXPECT_TRUE(top.names().empty());
}

TEST_F(QemuCgroupTest, WhereTheKernelStartsNobodyIntoItTheProcessJoinsByItself) {
  const QemuCgroup cgroup = make(marker);
  const UniqueFd no_cgroup(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const pid_t pid = start(cgroup, no_cgroup.get());
  EXPECT_EQ(cgroup_of(pid).value_or(""), cgroup.directory());
  EXPECT_EQ(read_proc_file(directory.path / "log"), "");
  end(pid);
}

TEST_F(QemuCgroupTest, WhoCannotGetInSaysSoAndIsStarted) {
  const QemuCgroup cgroup = make(marker);
  cgroup.remove();
  const pid_t pid = start(cgroup, cgroup.directory_fd());
  EXPECT_EQ(cgroup_of(pid), cgroup_of(::getpid()));
  EXPECT_THAT(read_proc_file(directory.path / "log"), HasSubstr("has the daemon's control group"));
  end(pid);
}

TEST_F(QemuCgroupTest, ANewOneTakesAwayWhatFormerRunsOfItsGuestHaveLeftAndNothingElse) {
  const QemuCgroup former = make(marker);
  const QemuCgroup living = make({marker.run_dir, "b", 1});
  const pid_t pid = start(living, living.directory_fd());
  const QemuCgroup other_guest = make({marker.run_dir, "a.1", 3});
  const QemuCgroup other_run_dir = make({"/run/other", "a", 1});
  ASSERT_EQ(::mkdir((top.directory + "/understudy").c_str(), 0755), 0);
  const QemuCgroup next = make({marker.run_dir, "a", 2});
  EXPECT_THAT(top.names(), UnorderedElementsAre(name_of(living), name_of(other_guest), name_of(other_run_dir),
                                                "understudy", name_of(next)));
  remove_empty_cgroups(top.directory, marker.run_dir);
  EXPECT_THAT(top.names(), UnorderedElementsAre(name_of(living), name_of(other_run_dir), "understudy"));
  end(pid);
}

TEST(MemoryOfAQemu, HasRoomForAllThatItsGuestCanHave) {
  GuestPlan plan;
  plan.base_bytes = 128_MiB;
  plan.area_bytes = 128_MiB;
  plan.slots = 256;
  plan.more_vcpus = 3;
  EXPECT_EQ(most_memory_of(plan), 256_MiB + 64_MiB + 4_GiB + 512_MiB + 514_MiB);
}

// With the whole of the hypervisor.
struct HypervisorCgroupTest : test::HypervisorTest {
  void SetUp() override {
    if (top.directory.empty()) GTEST_SKIP() << "no cgroup v2 can be made here";
    HypervisorTest::SetUp();
    settings.cgroups = top.directory;
  }
  TopCgroup top;
};

TEST_F(HypervisorCgroupTest, EachQemuHasOneWhichGoesWithIt) {
  make_hypervisor();
  launch(test::kA);
  launch(test::kB);
  const auto its = QemuCgroup::of(hypervisor->pid(test::kA), {directory.path, "a", 1});
  ASSERT_TRUE(its);
  EXPECT_EQ(top.names().size(), 2U);
  hypervisor->discard(test::kA);
  (void)await<GuestGone>(test::kA);
  EXPECT_EQ(top.names().size(), 1U);
}

TEST_F(HypervisorCgroupTest, ALaterDaemonFindsTheLivingAndRemovesWhatIsLeftOfTheDead) {
  make_hypervisor();
  launch(test::kA);
  const pid_t pid = hypervisor->pid(test::kA);
  hypervisor.reset();
  ASSERT_TRUE(QemuCgroup::make(top.directory, {directory.path, "gone", 7}, 1_GiB));
  ASSERT_EQ(top.names().size(), 2U);
  make_hypervisor();
  EXPECT_EQ(top.names().size(), 1U);
  hypervisor->adopt(test::kA);
  (void)await<GuestAdopted>(test::kA);
  EXPECT_EQ(hypervisor->pid(test::kA), pid);
  ASSERT_TRUE(hypervisor->sigkill(test::kA));
  (void)await<GuestExited>(test::kA);
  EXPECT_TRUE(top.names().empty());
}

TEST_F(HypervisorCgroupTest, WhatDownFindsAfterACrashGoesWithItsCgroup) {
  make_hypervisor();
  launch(test::kA);
  hypervisor.reset();
  ASSERT_EQ(top.names().size(), 1U);
  ASSERT_TRUE(end_all(directory.path));
  EXPECT_TRUE(top.names().empty());
}

TEST_F(HypervisorCgroupTest, WithoutAPlaceForItTheGuestIsStartedAndItsLogSaysSo) {
  settings.cgroups = top.directory + "/gone";
  make_hypervisor();
  launch(test::kA);
  EXPECT_THAT(read_proc_file(directory.path / "guests/a/qemu.log"),
              HasSubstr("has the daemon's control group"));
}

// Its files are the test's: those of a real one need the controllers. In the mounts of this program alone.
struct WrittenCgroupTest : HypervisorCgroupTest {
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root mounts";
    HypervisorCgroupTest::SetUp();
    if (top.directory.empty()) return;
    make_hypervisor();
    launch(test::kA);
    its = QemuCgroup::of(hypervisor->pid(test::kA), {directory.path, "a", 1}).value().directory();
    if (::mount("none", its.c_str(), "tmpfs", 0, nullptr) != 0) GTEST_SKIP() << "this root mounts nothing";
    mounted = true;
    write("memory.max", "67108864\n");
  }
  void TearDown() override {
    if (mounted) ::umount(its.c_str());
    HypervisorCgroupTest::TearDown();
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(its + "/" + name) << text;
  }
  std::string its;
  bool mounted = false;
};

TEST_F(WrittenCgroupTest, TheEndOfAGuestSaysThatItWasTheLimit) {
  write("memory.events", "low 0\noom 1\noom_kill 1\n");
  ASSERT_TRUE(hypervisor->sigkill(test::kA));
  EXPECT_THAT(await<GuestExited>(test::kA).how,
              HasSubstr("because it used all the memory that a QEMU may have (64 MiB, memory.max"));
}

TEST_F(WrittenCgroupTest, AnotherEndDoesNot) {
  write("memory.events", "low 0\noom 1\noom_kill 0\n");
  ASSERT_TRUE(hypervisor->sigkill(test::kA));
  EXPECT_THAT(await<GuestExited>(test::kA).how, testing::Not(HasSubstr("memory")));
}

TEST_F(WrittenCgroupTest, WhatAnAreaLacksIsAllowedWhenItIsGiven) {
  const UniqueFd file(::open(pool->path(test::kAreas[1]).c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1_MiB), 0);
  EXPECT_EQ(pool->missing_bytes(test::kAreas[0]), 0U);
  EXPECT_EQ(pool->missing_bytes(test::kAreas[1]), 1_MiB);
  plug();
  EXPECT_EQ(read_proc_file(its + "/memory.max"), std::to_string(65_MiB) + "\n");
}

}  // namespace
}  // namespace understudy::qemu

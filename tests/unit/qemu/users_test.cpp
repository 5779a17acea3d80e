// Guests whose QEMUs have users of their own. Only root can give somebody another user, so these tests run
// for root alone; what everybody else gets is what all other tests run.
#include "../as_user.hpp"
#include "../process_with_network.hpp"
#include "base/process_network.hpp"
#include "hypervisor_fixture.hpp"
#include "qemu/accelerator.hpp"
#include "qemu/launch.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using core::AreaId;
using core::GuestRun;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using understudy::test::unused_uid;
namespace fs = std::filesystem;

// Lines of /proc/PID/status without their blanks: "Uid:66000 66000 66000 66000".
std::string status_line(pid_t pid, const std::string& key) {
  std::istringstream status(read_proc_file("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(key + ":")) continue;
    std::istringstream words(line.substr(key.size() + 1));
    std::string text;
    for (std::string word; words >> word;) text += (text.empty() ? "" : " ") + word;
    return text;
  }
  return "no " + key;
}

// This thread, and what it starts, for as long as this lives.
class WithoutCapability {
 public:
  explicit WithoutCapability(unsigned capability) {
    ::syscall(SYS_capget, &header_, before_.data());
    auto less = before_;
    less[0].effective &= ~(1U << capability);
    ::syscall(SYS_capset, &header_, less.data());
  }
  ~WithoutCapability() { ::syscall(SYS_capset, &header_, before_.data()); }
  WithoutCapability(const WithoutCapability&) = delete;
  WithoutCapability& operator=(const WithoutCapability&) = delete;

 private:
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> before_{};
};

bool may_have_namespaces() {
  return understudy::test::ProcessWithNetwork(6379, "").ready();
}

struct UsersTest : HypervisorTest {
  std::vector<uid_t> holders_when_it_ended;  // of the areas, as the first end of a guest was told
  const uid_t uid_a = unused_uid();
  const uid_t uid_b = unused_uid() + 1;

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give QEMU another user";
    HypervisorTest::SetUp();
    // Images below a directory that nobody else may enter.
    ASSERT_EQ(::mkdir((directory.path / "home").c_str(), 0700), 0);
    for (const char* file : {"kernel", "initramfs", "disk"})
      std::ofstream(directory.path / "home" / file) << file;
    ASSERT_EQ(::chmod((directory.path / "home" / "disk").c_str(), 0600), 0) << "which is no hindrance";
    uid_t uid = uid_a;
    for (GuestPlan& plan : settings.guests) {
      plan.image = {directory.path / "home" / "kernel", directory.path / "home" / "initramfs",
                    directory.path / "home" / "disk"};
      plan.user = HostUser{uid, uid, {}};
      uid = uid_b;
    }
    settings.dumps.directory = directory.path / "home" / "dumps";
    settings.limits = {};
    settings.limits.launch = milliseconds(2000);
    settings.limits.adopt = milliseconds(2000);
    settings.limits.plug = milliseconds(500);
    settings.limits.unplug = milliseconds(500);
    make_hypervisor();
  }
  void heard(const core::Event& event) override {
    const bool end = std::holds_alternative<GuestFenced>(event) || std::holds_alternative<GuestExited>(event);
    if (end && holders_when_it_ended.empty()) holders_when_it_ended = holders();
  }
  // The daemon dies, and the next one opens what it left.
  void next_daemon(bool guests_die_meanwhile = false) {
    hypervisor.reset();
    pool.reset();
    if (guests_die_meanwhile) {
      for (const FoundProcess& found : find_processes(directory.path)) {
        ::kill(found.pid, SIGKILL);
        ::waitpid(found.pid, nullptr, 0);
      }
    }
    auto made = pool::AreaPool::reopen(pool_config(), directory.path, 3, loop.context, {});
    ASSERT_TRUE(made) << made.error().message;
    pool = std::move(*made);
    events.clear();
    make_hypervisor();
  }

  // The groups that may open them; whose they are never changes.
  [[nodiscard]] std::vector<gid_t> holders() const {
    std::vector<gid_t> all;
    for (const AreaId area : kAreas) {
      struct stat info {};
      if (::stat(pool->path(area).c_str(), &info) != 0) continue;
      EXPECT_EQ(info.st_uid, 0u);
      EXPECT_EQ(info.st_mode & 07777, info.st_gid == 0 ? 0600u : 0660u);
      all.push_back(info.st_gid);
    }
    return all;
  }
  // What came of it when the run's QEMU tried to open the file, or to connect to the socket.
  [[nodiscard]] std::string tries_to_open(GuestRun run, const fs::path& path) const {
    const UniqueFd fd = connect(run);
    const std::string line = "open " + path.string() + "\n";
    EXPECT_EQ(::write(fd.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
    std::string answer;
    for (char c = 0; ::read(fd.get(), &c, 1) == 1 && c != '\n';) answer += c;
    return answer;
  }
};

TEST_F(UsersTest, AQemuIsItsUserAndHasNothingElse) {
  ::setenv("UNDERSTUDY_TEST_SEEN", "1", 1);
  ::setenv("A_SECRET_OF_ROOT", "1", 1);
  settings.guests[0].user->groups = {unused_uid() + 7};
  make_hypervisor();
  launch();
  launch(kB);
  const pid_t a = hypervisor->pid(kA);
  const std::string id = std::to_string(uid_a);
  EXPECT_EQ(status_line(a, "Uid"), id + " " + id + " " + id + " " + id);
  EXPECT_EQ(status_line(a, "Gid"), id + " " + id + " " + id + " " + id);
  EXPECT_EQ(status_line(a, "Groups"), std::to_string(unused_uid() + 7));
  EXPECT_EQ(status_line(a, "NoNewPrivs"), "1");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
    EXPECT_EQ(status_line(a, set), "0000000000000000") << set;
  EXPECT_EQ(status_line(hypervisor->pid(kB), "Uid").substr(0, 6), std::to_string(uid_b));
  EXPECT_EQ(status_line(hypervisor->pid(kB), "Groups"), "");
  const std::string proc = "/proc/" + std::to_string(a);
  EXPECT_THAT(read_proc_file(proc + "/limits"),
              HasSubstr("Max core file size        0                    0"));
  EXPECT_THAT(read_proc_file(proc + "/limits"),
              HasSubstr("Max processes             1024                 1024"));
  const std::string largest = std::to_string(settings.guests[0].base_bytes + kMostBeyondBase);
  EXPECT_THAT(read_proc_file(proc + "/limits"), HasSubstr("Max file size             " + largest));
  EXPECT_EQ(fs::read_symlink(proc + "/cwd"), "/");
  const std::string environment = read_proc_file(proc + "/environ");
  EXPECT_THAT(environment, HasSubstr("UNDERSTUDY_TEST_SEEN=1"));
  EXPECT_THAT(environment, testing::Not(HasSubstr("A_SECRET_OF_ROOT")));
  ::unsetenv("A_SECRET_OF_ROOT");
  ::unsetenv("UNDERSTUDY_TEST_SEEN");
}

TEST_F(UsersTest, AnAreaBelongsToTheGuestThatHasIt) {
  launch();
  launch(kB);
  EXPECT_THAT(holders(), ElementsAre(0, 0, 0));
  plug();
  EXPECT_THAT(holders(), ElementsAre(uid_a, uid_a, uid_a));
  hypervisor->unplug(kA, std::span(kAreas).first(1));
  (void)await<AreaUnplugged>(kA);
  EXPECT_THAT(holders(), ElementsAre(0, uid_a, uid_a));
  hypervisor->plug(kB, std::span(kAreas).first(1));
  (void)await<AreaPlugged>(kB);
  EXPECT_THAT(holders(), ElementsAre(uid_b, uid_a, uid_a));
}

TEST_F(UsersTest, AFenceTakesThemBackBeforeItIsToldAndTheOldQemuTakesNothingFromTheNext) {
  launch();
  launch(kB);
  plug();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  EXPECT_THAT(holders_when_it_ended, ElementsAre(0, 0, 0));
  plug(kB);
  EXPECT_THAT(holders(), ElementsAre(uid_b, uid_b, uid_b));
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_THAT(holders(), ElementsAre(uid_b, uid_b, uid_b));
}

TEST_F(UsersTest, AQemuThatEndsByItselfLeavesThem) {
  launch();
  plug();
  ASSERT_TRUE(hypervisor->sigkill(kA));
  (void)await<GuestExited>(kA);
  EXPECT_THAT(holders_when_it_ended, ElementsAre(0, 0, 0));
}

TEST_F(UsersTest, WhatCouldNotBePluggedIsTakenBack) {
  faults("refuse=device_add");
  launch();
  hypervisor->plug(kA, kAreas);
  (void)await<PlugFailed>(kA, 3);
  EXPECT_THAT(holders(), ElementsAre(0, 0, 0));
  faults("refuse=object-add");
  launch(kB);
  hypervisor->plug(kB, kAreas);
  (void)await<PlugFailed>(kB, 3);
  EXPECT_THAT(holders(), ElementsAre(0, 0, 0));
}

TEST_F(UsersTest, AnAreaThatAGuestDoesNotLetGoOfStaysItsOwn) {
  faults("deaf");
  launch();
  plug();
  hypervisor->unplug(kA, kAreas);
  (void)await<UnplugFailed>(kA, 3);
  EXPECT_THAT(holders(), ElementsAre(uid_a, uid_a, uid_a));
  order(kA, "deleted dimm-0001");  // late, and nobody asked any more
  EXPECT_TRUE(loop.until([&] {
    loop.run_for(milliseconds(5));
    return holders()[1] == 0;
  }));
}

TEST_F(UsersTest, AnAnswerAboutTheTimeBeforeAnAreaWasGivenTakesNothingBack) {
  faults("late=object-del");
  launch();
  order(kA, "backend mem-0001");  // of a daemon that died between two commands
  next_daemon();
  hypervisor->adopt(kA);
  (void)await<GuestAdopted>(kA);  // QEMU was asked to remove it, and answers later
  hypervisor->plug(kA, kAreas);
  EXPECT_THAT(holders(), ElementsAre(uid_a, uid_a, uid_a));
  hypervisor->plug(kA, kAreas);  // asked twice: one answer
  loop.run_for(kQuiet);
  order(kA, "answer");
  (void)await<AreaPlugged>(kA, 3);
  loop.run_for(kQuiet);
  EXPECT_THAT(holders(), ElementsAre(uid_a, uid_a, uid_a)) << "it is in the guest";
  EXPECT_EQ(all<AreaPlugged>(kA).size(), 3u);
}

TEST_F(UsersTest, TheNextDaemonGoesOnWithThem) {
  launch();
  plug();
  next_daemon();
  EXPECT_THAT(holders(), ElementsAre(uid_a, uid_a, uid_a)) << "its QEMU lives";
  hypervisor->adopt(kA);
  EXPECT_EQ(await<GuestAdopted>(kA).areas.size(), 3u);
  hypervisor->unplug(kA, std::span(kAreas).first(1));
  (void)await<AreaUnplugged>(kA);
  EXPECT_THAT(holders(), ElementsAre(0, uid_a, uid_a));
  hypervisor->plug(kA, std::span(kAreas).first(1));
  (void)await<AreaPlugged>(kA);
  ASSERT_TRUE(hypervisor->sigkill(kA));
  (void)await<GuestExited>(kA);
  EXPECT_THAT(holders(), ElementsAre(0, 0, 0));
}

TEST_F(UsersTest, TheNextDaemonMayBeConfiguredOtherwise) {
  launch();
  plug();
  for (GuestPlan& plan : settings.guests) plan.user.reset();
  next_daemon();
  hypervisor->adopt(kA);
  (void)await<GuestAdopted>(kA);
  hypervisor->unplug(kA, kAreas);
  (void)await<AreaUnplugged>(kA, 3);
  EXPECT_THAT(holders(), ElementsAre(0, 0, 0));
  hypervisor->plug(kA, kAreas);
  (void)await<AreaPlugged>(kA, 3);
  EXPECT_THAT(holders(), ElementsAre(uid_a, uid_a, uid_a)) << "it is still that guest's";
  launch(kB);
  EXPECT_EQ(status_line(hypervisor->pid(kB), "Uid"), "0 0 0 0");
}

// The processes are who was written down, whatever they have come to say of themselves.
TEST_F(UsersTest, TheNextDaemonKnowsAQemuThatHasChangedItsCommandLine) {
  launch();
  launch(kB);
  plug();
  const pid_t a = hypervisor->pid(kA);
  const pid_t b = hypervisor->pid(kB);
  for (const std::string& name : {name_option({directory.path, "b", 1}), std::string("guest=somebody")}) {
    {
      const UniqueFd fd = connect(kA);
      const std::string line = "name " + name + "\n";
      ASSERT_EQ(::write(fd.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
      char answer = 0;
      ASSERT_EQ(::read(fd.get(), &answer, 1), 1);
    }
    ASSERT_NE(find_marker(arguments_of(a)), (Marker{directory.path, "a", 1}));
    next_daemon();
    EXPECT_TRUE(check_no_strangers(directory.path, uid_a, uid_b));
    EXPECT_EQ(processes().size(), 2u);
    EXPECT_THAT(holders(), ElementsAre(uid_a, uid_a, uid_a)) << "its QEMU lives";
    hypervisor->adopt(kA);
    EXPECT_EQ(await<GuestAdopted>(kA).areas.size(), 3u);
    hypervisor->adopt(kB);
    EXPECT_EQ(await<GuestAdopted>(kB).areas.size(), 0u);
    EXPECT_EQ(hypervisor->pid(kA), a);
    EXPECT_EQ(hypervisor->pid(kB), b);
  }
  hypervisor.reset();
  EXPECT_EQ(end_all(directory.path).value(), 2u);
}

// Its first thread is what the kernel shows of a process, and its end hides the command line as well.
TEST_F(UsersTest, TheNextDaemonKnowsAQemuWhoseFirstThreadHasEnded) {
  launch();
  const pid_t a = hypervisor->pid(kA);
  order(kA, "first");
  ASSERT_TRUE(loop.until([&] { return process_stat(a)->state == 'Z'; }));
  ASSERT_TRUE(arguments_of(a).empty());
  next_daemon();
  ASSERT_EQ(processes().size(), 1u);
  EXPECT_EQ(processes()[0].pid, a);
  EXPECT_TRUE(check_no_strangers(directory.path, uid_a, uid_b));
  EXPECT_FALSE(check_no_strangers(directory.path / "other", uid_a, uid_b)) << "another's, and it lives";
  hypervisor.reset();
  EXPECT_EQ(end_all(directory.path).value(), 1u);
}

// Of one whose daemon died before it wrote it down nothing is known but what it says. It is nobody else.
TEST_F(UsersTest, AQemuThatWasNotWrittenDownCannotBeAnotherThatWas) {
  launch();
  launch(kB);
  const pid_t a = hypervisor->pid(kA);
  {
    const UniqueFd fd = connect(kA);
    const std::string line = "name " + name_option({directory.path, "b", 1}) + "\n";
    ASSERT_EQ(::write(fd.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
    char answer = 0;
    ASSERT_EQ(::read(fd.get(), &answer, 1), 1);
  }
  ASSERT_TRUE(fs::remove(directory.path / "guests" / "a" / "pid"));
  EXPECT_FALSE(is_the_qemu({directory.path, "a", 1}, a));
  EXPECT_FALSE(is_the_qemu({directory.path, "b", 1}, a));
  const auto refused = check_no_strangers(directory.path, uid_a, uid_b);
  ASSERT_FALSE(refused) << "a daemon would start beside it";
  EXPECT_THAT(refused.error().message, HasSubstr("process " + std::to_string(a)));
  ASSERT_TRUE(hypervisor->sigkill(kA));
  (void)await<GuestExited>(kA);
}

TEST_F(UsersTest, WhatAQemuLeftThatDiedWithItsDaemonIsTakenBack) {
  launch();
  plug();
  next_daemon(true);
  EXPECT_THAT(holders(), ElementsAre(0, 0, 0));
  hypervisor->adopt(kA);
  (void)await<GuestExited>(kA);
}

// Its ports are nobody else's, before its end and after it, and the host's network is not its.
TEST_F(UsersTest, AQemuHasANetworkOfItsOwnInWhichItIsAskedForItsKernel) {
  if (!may_have_namespaces()) GTEST_SKIP() << "this root may not make networks";
  hypervisor->set_own_network(true);
  launch();
  const auto network = ProcessNetwork::of(hypervisor->pid(kA));
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_FALSE(network->is_ours());
  const std::string devices = read_proc_file("/proc/" + std::to_string(hypervisor->pid(kA)) + "/net/dev");
  EXPECT_THAT(devices, HasSubstr("lo:"));
  EXPECT_EQ(std::count(devices.begin(), devices.end(), ':'), 1) << devices;
  hypervisor->probe(kA);
  const auto answer = await<ProbeAnswer>(kA);
  EXPECT_TRUE(answer.kernel_answers) << answer.evidence;
}

TEST_F(UsersTest, WhereTheGatewayCannotFollowItIsInTheHostsNetwork) {
  launch();
  const auto network = ProcessNetwork::of(hypervisor->pid(kA));
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_TRUE(network->is_ours());
}

// A container's root may have CAP_SYS_ADMIN and not CAP_NET_ADMIN: there a new network would stay without its
// loopback, and the guest without clients.
TEST_F(UsersTest, WhereALoopbackCannotBeRaisedItIsInTheHostsNetwork) {
  const WithoutCapability less(CAP_NET_ADMIN);
  SpawnSpec spec{{"/bin/sh", "-c", "readlink /proc/self/ns/net >&2"},
                 directory.path / "log",
                 {},
                 HostUser{unused_uid() + 5, unused_uid() + 5, {}}};
  spec.own_network = true;
  const auto pid = spawn_process(spec);
  ASSERT_TRUE(pid) << pid.error().message;
  ::waitpid(*pid, nullptr, 0);
  const std::string log = read_proc_file(directory.path / "log");
  EXPECT_THAT(log, HasSubstr("in the host's network"));
  EXPECT_THAT(log, HasSubstr(fs::read_symlink("/proc/self/ns/net").string()));
}

TEST_F(UsersTest, AQemuHasNoSystemVMemory) {
  if (!may_have_namespaces()) GTEST_SKIP() << "this root may not make namespaces";
  launch();
  const std::string ours = fs::read_symlink("/proc/self/ns/ipc");
  EXPECT_NE(fs::read_symlink("/proc/" + std::to_string(hypervisor->pid(kA)) + "/ns/ipc"), ours);
}

TEST_F(UsersTest, DownFindsThemWithoutAConfiguration) {
  launch();
  launch(kB);
  hypervisor.reset();
  EXPECT_EQ(processes().size(), 2u);
  EXPECT_EQ(end_all(directory.path).value(), 2u);
}

// What anybody can write into a command line makes nobody a QEMU of ours.
TEST_F(UsersTest, AStrangerWithOurMarkerIsNobody) {
  SpawnSpec spec{
      {"/bin/sh", "-c", "while :; do sleep 1; done", "sh", "-name", name_option({directory.path, "a", 1})},
      directory.path / "log",
      {},
      HostUser{unused_uid() + 5, unused_uid() + 5, {}}};
  const auto pid = spawn_process(spec);
  ASSERT_TRUE(pid) << pid.error().message;
  EXPECT_TRUE(processes().empty());
  EXPECT_EQ(end_all(directory.path).value(), 0u);
  // A stranger with the number of a guest is told of.
  EXPECT_TRUE(check_no_strangers(directory.path, uid_a, uid_b));
  const auto refused = check_no_strangers(directory.path / "other", uid_a, unused_uid() + 5);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("process " + std::to_string(*pid) + " (sh) runs as"));
  ::kill(*pid, SIGKILL);
  ::waitpid(*pid, nullptr, 0);
}

TEST_F(UsersTest, AQemuReachesItsOwnAreasAndNothingElse) {
  launch();
  launch(kB);
  hypervisor->plug(kA, std::span(kAreas).first(1));
  (void)await<AreaPlugged>(kA);
  hypervisor->plug(kB, std::span(kAreas).subspan(1, 1));
  (void)await<AreaPlugged>(kB);
  std::ofstream(directory.path / "journal") << "journal";
  ASSERT_EQ(::chmod((directory.path / "journal").c_str(), 0644), 0);  // were it only for its mode
  const auto control = listen_on(directory.path / "control.sock");
  ASSERT_TRUE(control) << control.error().message;
  const fs::path areas = kAreasOfFd;
  EXPECT_EQ(tries_to_open(kA, areas / "area-0000"), "opened");
  const std::string denied = std::strerror(EACCES);
  for (const fs::path& path :
       {areas / "area-0001", areas / "area-0002", areas, areas / ".." / "journal",
        areas / ".." / "guests" / "b" / "qmp.sock", areas / ".." / "control.sock", pool->path({1}),
        directory.path / "journal", directory.path / "control.sock",
        directory.path / "guests" / "b" / "qmp.sock", directory.path / "guests" / "b" / "agent.sock",
        directory.path / "guests" / "a" / "qmp.sock", directory.path / "home" / "kernel"})
    // Where this root may not mount, the areas' directory is in /dev/shm, and the paths beside it lead
    // nowhere.
    EXPECT_THAT(tries_to_open(kA, path), testing::AnyOf(denied, std::strerror(ENOENT))) << path;
  const std::string other = "/proc/" + std::to_string(hypervisor->pid(kB)) + "/fd/8/area-0001";
  EXPECT_EQ(tries_to_open(kA, other), denied);
  EXPECT_EQ(tries_to_open(kA, "/proc/" + std::to_string(::getpid()) + "/environ"), denied);
  EXPECT_EQ(tries_to_open(kB, areas / "area-0001"), "opened");
}

TEST_F(UsersTest, ADumpIsWrittenByAQemuThatMayNotEvenSeeTheDirectory) {
  launch();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->dump(kA);
  const auto done = await<DumpDone>(kA);
  ASSERT_EQ(done.why_not, "");
  struct stat info {};
  ASSERT_EQ(::stat(done.file.c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 0u);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_GT(info.st_size, 0);
  // It is stopped by now.
  ASSERT_TRUE(loop.until([&] {
    loop.run_for(milliseconds(5));
    return all_threads_stopped(hypervisor->pid(kA));
  }));
  loop.run_for(kQuiet);
  ASSERT_EQ(::kill(hypervisor->pid(kA), SIGCONT), 0);
  EXPECT_EQ(tries_to_open(kA, done.file), std::strerror(EACCES));
}

TEST_F(UsersTest, AnImageThatItCouldNotReadIsNamedWithTheRemedy) {
  ASSERT_EQ(::chmod((directory.path / "home" / "initramfs").c_str(), 0640), 0);
  hypervisor->launch(kA);
  const std::string why = await<LaunchFailed>(kA).why;
  EXPECT_THAT(why, HasSubstr("initramfs " + (directory.path / "home" / "initramfs").string()));
  EXPECT_THAT(why, HasSubstr("chmod o+r"));
  EXPECT_TRUE(processes().empty());
}

// ---- the trial of KVM ----

struct UsersTrialTest : UsersTest {
  fs::path device = directory.path / "kvm";
  Result<AcceleratorChoice> choose(mode_t mode, gid_t group, config::Accelerator wish) {
    std::ofstream(device) << "";
    EXPECT_EQ(::chmod(device.c_str(), mode), 0);
    EXPECT_EQ(::chown(device.c_str(), 0, group), 0);
    return choose_accelerator(settings.qemu, wish, settings.guests[0].image, directory.path,
                              milliseconds(2000), device, HostUser{uid_a, uid_a, {}});
  }
};

TEST_F(UsersTrialTest, ItsGuestHasAUserTooAndTheGroupOfTheDevice) {
  ::setenv(kFakeQemuVariable, "hello", 1);
  const auto choice = choose(0660, unused_uid() + 6, config::Accelerator::automatic);
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->accelerator, Accelerator::kvm) << choice->reason;
  EXPECT_THAT(choice->groups, ElementsAre(unused_uid() + 6));
  EXPECT_THAT(remembered_users(directory.path), ElementsAre(uid_a));
  EXPECT_TRUE(choose(0666, 0, config::Accelerator::kvm)->groups.empty()) << "everybody may use it";
  EXPECT_TRUE(choose(0660, unused_uid() + 6, config::Accelerator::tcg)->groups.empty());
}

TEST_F(UsersTrialTest, ADeviceForRootAloneIsOfNoUse) {
  const auto choice = choose(0660, 0, config::Accelerator::automatic);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->accelerator, Accelerator::tcg);
  EXPECT_THAT(choice->reason, HasSubstr("open to root alone"));
  const auto refused = choose(0600, unused_uid() + 6, config::Accelerator::kvm);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("chgrp kvm"));
}

}  // namespace
}  // namespace understudy::qemu

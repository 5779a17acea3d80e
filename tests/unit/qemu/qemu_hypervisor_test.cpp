// The whole of the hypervisor against a stand-in for QEMU that fails as it is told (fake_qemu.hpp).
#include "qemu/qemu_hypervisor.hpp"

#include "fake_qemu.hpp"
#include "loop.hpp"
#include "qemu/proc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace understudy::qemu {
namespace {

using namespace core::event;
using core::AreaId;
using core::GuestRun;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr GuestRun kA{{0}, 1};
constexpr GuestRun kB{{1}, 1};
constexpr AreaId kAreas[] = {{0}, {1}, {2}};
constexpr milliseconds kQuiet{60};  // long enough for a wrong event to show

struct HypervisorTest : testing::Test {
  TemporaryDirectory directory;
  Loop loop;
  std::vector<core::Event> events;
  std::vector<std::string> calls;  // of the listener, and the events between them
  std::unique_ptr<pool::AreaPool> pool;
  std::unique_ptr<QemuHypervisor> hypervisor;
  QemuHypervisor::Settings settings;

  void SetUp() override {
    ::setenv(kFakeQemuVariable, "ok", 1);
    auto made = pool::AreaPool::create(pool_config(), directory.path, 3, loop.context, {});
    ASSERT_TRUE(made) << made.error().message;
    pool = std::move(*made);
    settings.run_dir = directory.path;
    settings.qemu.program = kFakeQemu;
    for (const char* name : {"a", "b"}) {
      GuestPlan plan;
      plan.name = name;
      plan.base_bytes = 128_MiB;
      plan.area_bytes = pool_config().area_bytes;
      plan.slots = 3;
      plan.ports = {6379};
      settings.guests.push_back(plan);
    }
    settings.dumps.directory = std::filesystem::path(directory.path) / "dumps";
    settings.dumps.limit = milliseconds(300);
    settings.limits.launch = milliseconds(500);
    settings.limits.adopt = milliseconds(500);
    settings.limits.fence_monitor = milliseconds(100);
    settings.limits.probe = milliseconds(100);
    settings.limits.plug = milliseconds(200);
    settings.limits.unplug = milliseconds(200);
    settings.limits.monitor_lost = milliseconds(100);
    make_hypervisor();
  }
  void TearDown() override {
    hypervisor.reset();
    pool.reset();
    EXPECT_TRUE(end_all(directory.path));
    EXPECT_TRUE(pool::AreaPool::remove(pool_config(), directory.path));
    ::unsetenv(kFakeQemuVariable);
  }
  static config::Pool pool_config() {
    config::Pool config;
    config.area_bytes = 4_MiB;
    return config;
  }
  void make_hypervisor() {
    hypervisor.reset();
    auto made = QemuHypervisor::create(loop.context, settings, *pool, [this](core::Event event) {
      calls.push_back("event " + std::to_string(event.index()));
      events.push_back(std::move(event));
    });
    ASSERT_TRUE(made) << made.error().message;
    hypervisor = std::move(*made);
    hypervisor->set_listener({.available = [this](GuestRun) { calls.emplace_back("available"); },
                              .gone = [this](GuestRun) { calls.emplace_back("gone"); }});
  }
  void faults(const std::string& text) { ::setenv(kFakeQemuVariable, text.c_str(), 1); }

  template <class E>
  [[nodiscard]] std::vector<E> all(GuestRun run) const {
    std::vector<E> found;
    for (const core::Event& event : events) {
      if (const auto* each = std::get_if<E>(&event); each != nullptr && each->run == run)
        found.push_back(*each);
    }
    return found;
  }
  template <class E>
  E await(GuestRun run, std::size_t count = 1) {
    EXPECT_TRUE(loop.until([&] { return all<E>(run).size() >= count; })) << "the event did not come";
    const auto found = all<E>(run);
    return found.empty() ? E{} : found.back();
  }
  void launch(GuestRun run = kA) {
    hypervisor->launch(run);
    (void)await<GuestLaunched>(run);
    ASSERT_FALSE(HasFailure());
  }
  void plug(GuestRun run = kA) {
    hypervisor->plug(run, kAreas);
    (void)await<AreaPlugged>(run, 3);
    ASSERT_FALSE(HasFailure());
  }
  void order(GuestRun run, const std::string& line) const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    hypervisor->agent_socket(run)->native().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::write(fd, (line + "\n").data(), line.size() + 1), static_cast<ssize_t>(line.size() + 1));
    ::close(fd);
  }
  [[nodiscard]] std::vector<FoundProcess> processes() const { return find_processes(directory.path); }
};

TEST_F(HypervisorTest, LaunchesAGuestWithEverythingBelowItsDirectory) {
  hypervisor->launch(kA);
  EXPECT_TRUE(events.empty()) << "called from inside the request";
  (void)await<GuestLaunched>(kA);
  EXPECT_EQ(events.size(), 1u);
  EXPECT_EQ(calls.front(), "available")
      << "the agent's socket can be used before the core hears of the guest";
  EXPECT_EQ(hypervisor->agent_socket(kA), directory.path / "guests" / "a" / "agent.sock");
  EXPECT_TRUE(hypervisor->forwarded_port(kA, 6379));
  EXPECT_FALSE(hypervisor->forwarded_port(kA, 80));
  EXPECT_FALSE(hypervisor->forwarded_port(kB, 6379));
  ASSERT_EQ(processes().size(), 1u);
  EXPECT_EQ(processes()[0].marker, (Marker{directory.path, "a", 1}));
  EXPECT_GT(hypervisor->host_memory(kA).value_or(HostMemory{}).bytes, 0u);
  EXPECT_FALSE(hypervisor->host_memory(kB));
}

TEST_F(HypervisorTest, SeveralGuestsAtOnce) {
  hypervisor->launch(kA);
  hypervisor->launch(kB);
  (void)await<GuestLaunched>(kA);
  (void)await<GuestLaunched>(kB);
  EXPECT_NE(hypervisor->forwarded_port(kA, 6379), hypervisor->forwarded_port(kB, 6379));
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_EQ(processes().size(), 1u);
}

TEST_F(HypervisorTest, PlugsWithAddressesAndUnplugs) {
  launch();
  plug();
  const auto plugged = all<AreaPlugged>(kA);
  EXPECT_EQ(plugged[0].guest_address, 0x100000000u);
  EXPECT_EQ(plugged[2].guest_address, 0x110000000u);
  events.clear();
  hypervisor->plug(kA, std::span(kAreas).first(1));
  EXPECT_EQ(await<AreaPlugged>(kA).guest_address, 0x100000000u) << "asked again: it is so already";
  events.clear();
  hypervisor->unplug(kA, kAreas);
  (void)await<AreaUnplugged>(kA, 3);
  EXPECT_EQ(events.size(), 3u);
  // Once more: it is not in the guest, which is what was asked for.
  hypervisor->unplug(kA, std::span(kAreas).first(1));
  (void)await<AreaUnplugged>(kA, 4);
  plug();
}

TEST_F(HypervisorTest, AGuestThatDoesNotLetGoIsToldApartFromOneThatRefuses) {
  faults("deaf");
  launch();
  plug();
  hypervisor->unplug(kA, kAreas);
  EXPECT_THAT(await<UnplugFailed>(kA, 3).why, HasSubstr("did not let go of it within 200 ms"));
  // It lets go after all: nobody is told, but the file is not kept mapped and can be plugged again.
  events.clear();
  order(kA, "deleted dimm-0001");
  loop.run_for(kQuiet);
  EXPECT_TRUE(events.empty());
  hypervisor->plug(kA, std::span(kAreas).subspan(1, 1));
  (void)await<AreaPlugged>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);

  faults("refusing");
  launch(kB);
  plug(kB);
  hypervisor->unplug(kB, kAreas);
  EXPECT_THAT(await<UnplugFailed>(kB, 3).why, HasSubstr("refused to let go of it (ACPI status 130)"));
  loop.run_for(milliseconds(250));
  EXPECT_EQ(all<UnplugFailed>(kB).size(), 3u) << "the limit answered once more";
}

TEST_F(HypervisorTest, APanicIsReportedOnceAndItsFenceOnlyVerifies) {
  launch();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("QEMU says \"guest-panicked\""));
  EXPECT_EQ(processes().size(), 1u) << "kept for a look at it";
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 3u);
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "gone"), 1);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_TRUE(processes().empty());
  EXPECT_FALSE(std::filesystem::exists(*hypervisor->agent_socket(kA)));
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 4u);
}

TEST_F(HypervisorTest, AGuestThatPowersOffOrRestartsByItselfIsEndedUnderItsTrueName) {
  launch();
  order(kA, "shutdown guest-shutdown");
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("its OS powered itself off"));
  launch(kB);
  order(kB, "shutdown guest-reset");
  EXPECT_THAT(await<GuestExited>(kB).how, HasSubstr("its OS restarted itself"));
  EXPECT_TRUE(all<GuestPanicked>(kA).empty());
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 4u);
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, AGuestThatQemuStopsByItselfHasEnded) {
  launch();
  order(kA, "stop internal-error");
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("internal-error"));
}

TEST_F(HypervisorTest, AQemuThatEndsByItselfIsReportedOnceWithItsLastWords) {
  launch();
  order(kA, "exit 3");
  EXPECT_EQ(await<GuestExited>(kA).how, "exit status 3; QEMU's last words: it is broken");
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(all<GuestExited>(kA).size(), 1u);
  EXPECT_EQ(events.size(), 4u);
}

TEST_F(HypervisorTest, TheEndAfterAFenceOrADiscardIsNoNews) {
  launch();
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  ASSERT_TRUE(hypervisor->sigkill(kA));
  ASSERT_TRUE(loop.until([this] {
    loop.run_for(milliseconds(5));
    return processes().empty();
  }));
  loop.run_for(kQuiet);
  EXPECT_TRUE(all<GuestExited>(kA).empty());
  launch(kB);
  hypervisor->discard(kB);
  (void)await<GuestGone>(kB);
  loop.run_for(kQuiet);
  EXPECT_TRUE(all<GuestExited>(kB).empty());
}

TEST_F(HypervisorTest, DrillsAreReal) {
  launch();
  launch(kB);
  ASSERT_TRUE(hypervisor->sigkill(kA));
  EXPECT_EQ(await<GuestExited>(kA).how, "killed by signal 9 (SIGKILL)");
  ASSERT_TRUE(hypervisor->sigstop(kB));
  ASSERT_TRUE(loop.until([&] {
    loop.run_for(milliseconds(1));
    return process_stat(processes().at(0).pid)->state == 'T';
  }));
  EXPECT_FALSE(hypervisor->sigstop({{1}, 9}));
  EXPECT_FALSE(hypervisor->sigstop(kA));
}

// ---- probes ----

TEST_F(HypervisorTest, ALivingKernelAnswersAProbe) {
  launch();
  hypervisor->probe(kA);
  const auto answer = await<ProbeAnswer>(kA);
  EXPECT_TRUE(answer.kernel_answers);
  EXPECT_THAT(answer.evidence, HasSubstr("the kernel answered a packet in"));
}

TEST_F(HypervisorTest, ADeadKernelDoesNotAndTheEvidenceSaysWhatElseIsKnown) {
  faults("dead-kernel");
  launch();
  const auto before = std::chrono::steady_clock::now();
  hypervisor->probe(kA);
  const auto answer = await<ProbeAnswer>(kA);
  EXPECT_FALSE(answer.kernel_answers);
  EXPECT_THAT(answer.evidence, HasSubstr("no answer from the kernel within 100 ms"));
  EXPECT_THAT(answer.evidence, HasSubstr("its monitor says \"running\""));
  EXPECT_LT(std::chrono::steady_clock::now() - before, milliseconds(1000));
  hypervisor->probe(kA);
  EXPECT_THAT(await<ProbeAnswer>(kA, 2).evidence, HasSubstr("its vCPUs used 0 ms of CPU"));
}

TEST_F(HypervisorTest, AStoppedQemuAnswersNoProbeAndIsFencedWithoutItsMonitor) {
  launch();
  ASSERT_TRUE(hypervisor->sigstop(kA));
  hypervisor->probe(kA);
  const auto answer = await<ProbeAnswer>(kA);
  EXPECT_FALSE(answer.kernel_answers);
  EXPECT_THAT(answer.evidence, HasSubstr("QEMU is stopped (state T)"));
  EXPECT_THAT(answer.evidence, HasSubstr("its monitor does not answer"));
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("(QEMU itself is stopped (state T))"));
}

TEST_F(HypervisorTest, AQemuThatDiesDuringAProbeIsNoAnswerOfItsKernel) {
  faults("dead-kernel");
  launch();
  hypervisor->probe(kA);
  loop.run_for(milliseconds(20));
  ASSERT_TRUE(hypervisor->sigkill(kA));  // its connections close, as if they had been refused
  EXPECT_FALSE(await<ProbeAnswer>(kA).kernel_answers);
}

TEST_F(HypervisorTest, WhatIsNotThereIsAnsweredAtOnce) {
  hypervisor->probe(kA);
  EXPECT_FALSE(await<ProbeAnswer>(kA).kernel_answers);
  hypervisor->plug(kA, kAreas);
  (void)await<PlugFailed>(kA, 3);
  hypervisor->unplug(kA, kAreas);
  (void)await<UnplugFailed>(kA, 3);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  hypervisor->fence(kA);
  EXPECT_EQ(await<GuestFenced>(kA).how, "it has no process");
}

// ---- faults of the monitor at every command ----

struct Fault {
  std::string action;
  std::string command;
  friend void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.action << " " << fault.command; }
};
std::vector<Fault> faults_of(const std::vector<std::string>& commands) {
  std::vector<Fault> all;
  for (const std::string& command : commands) {
    for (const char* action : {"refuse", "silent", "exit", "hangup", "garbage"})
      all.push_back({action, command});
  }
  return all;
}
std::string name_of(const testing::TestParamInfo<Fault>& info) {
  std::string name = info.param.action + "_" + info.param.command;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

struct LaunchFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, LaunchFault,
                         testing::ValuesIn(faults_of({"qmp_capabilities", "query-status",
                                                      "human-monitor-command", "qom-list",
                                                      "query-memory-devices"})),
                         name_of);

TEST_P(LaunchFault, EndsInLaunchFailedWithNoProcessLeft) {
  faults("launch " + GetParam().action + "=" + GetParam().command);
  hypervisor->launch(kA);
  const auto failed = await<LaunchFailed>(kA);
  EXPECT_FALSE(failed.why.empty());
  EXPECT_TRUE(processes().empty());
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
  EXPECT_TRUE(std::count(calls.begin(), calls.end(), "available") == 0);
  // And the next launch works.
  faults("ok");
  launch({{0}, 2});
}

struct PlugFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, PlugFault,
                         testing::ValuesIn(faults_of({"object-add", "device_add", "query-memory-devices"})),
                         name_of);

TEST_P(PlugFault, EndsInOneAnswerForEachAreaOrInTheEndOfTheGuest) {
  faults(GetParam().action + "=" + GetParam().command);
  launch();
  hypervisor->plug(kA, kAreas);
  ASSERT_TRUE(
      loop.until([this] { return all<PlugFailed>(kA).size() == 3 || !all<GuestExited>(kA).empty(); }));
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), all<PlugFailed>(kA).empty() ? 2u : 4u) << "one answer, after GuestLaunched";
  if (GetParam().action == "refuse" && GetParam().command != "query-memory-devices") {
    EXPECT_THAT(await<PlugFailed>(kA).why, HasSubstr("refused for the test"));
    hypervisor->fence(kA);
    (void)await<GuestFenced>(kA);
  } else {
    EXPECT_TRUE(processes().empty()) << "what cannot be known must not run on";
  }
}

struct UnplugFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, UnplugFault, testing::ValuesIn(faults_of({"device_del", "object-del"})),
                         name_of);

TEST_P(UnplugFault, EndsInOneAnswerForEachAreaOrInTheEndOfTheGuest) {
  faults(GetParam().action + "=" + GetParam().command);
  launch();
  plug();
  events.clear();
  hypervisor->unplug(kA, kAreas);
  ASSERT_TRUE(
      loop.until([this] { return all<UnplugFailed>(kA).size() == 3 || !all<GuestExited>(kA).empty(); }));
  loop.run_for(kQuiet);
  for (const core::Event& event : events) EXPECT_FALSE(std::holds_alternative<AreaUnplugged>(event));
  if (GetParam().action == "refuse") {
    EXPECT_EQ(events.size(), 3u);
    EXPECT_THAT(await<UnplugFailed>(kA).why, HasSubstr("refused for the test"));
  } else if (all<UnplugFailed>(kA).empty()) {
    EXPECT_EQ(events.size(), 1u);
    EXPECT_TRUE(processes().empty()) << "what cannot be known must not run on";
  }
}

struct FenceFault : HypervisorTest, testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(Every, FenceFault, testing::ValuesIn(faults_of({"stop", "query-status"})), name_of);

TEST_P(FenceFault, EndsInGuestFencedAndOnlyWhenItIsTrue) {
  faults(GetParam().action + "=" + GetParam().command);
  launch();
  events.clear();
  const pid_t pid = processes().at(0).pid;
  hypervisor->fence(kA);
  const auto fenced = await<GuestFenced>(kA);
  const bool stopped_by_monitor = fenced.how.find("QEMU says") != std::string::npos;
  EXPECT_TRUE(stopped_by_monitor || all_threads_over(pid)) << fenced.how;
  if (GetParam().command == "query-status") {
    EXPECT_FALSE(stopped_by_monitor) << fenced.how;
  }
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA, 2);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 3u);
  EXPECT_TRUE(processes().empty());
}

// ---- dump ----

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
  EXPECT_TRUE(std::filesystem::is_empty(settings.dumps.directory));
}

TEST_F(HypervisorTest, AGuestThatRunsOnAfterStopIsKilled) {
  faults("unstoppable");
  launch();
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("asked to stop it, but it still runs"));
  ASSERT_TRUE(loop.until([this] {
    loop.run_for(milliseconds(5));
    return processes().empty();
  }));
}

// ---- launches ----

TEST_F(HypervisorTest, AQemuThatNeverAnswersIsEndedAfterTheLimit) {
  faults("mute");
  hypervisor->launch(kA);
  EXPECT_THAT(await<LaunchFailed>(kA).why, HasSubstr("did not answer within 500 ms"));
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, AQemuThatIsNotInstalledFailsTheLaunch) {
  settings.qemu.program = "no-such-qemu";
  make_hypervisor();
  hypervisor->launch(kA);
  EXPECT_THAT(await<LaunchFailed>(kA).why, HasSubstr("cannot start no-such-qemu"));
}

TEST_F(HypervisorTest, AFenceDuringALaunchGivesItsAnswerAlone) {
  faults("mute");
  hypervisor->launch(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 2u);
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, ALaunchEndsWhatAnEarlierDaemonLeftOfTheGuest) {
  launch();
  const pid_t old = processes().at(0).pid;
  make_hypervisor();
  std::filesystem::remove(directory.path / "guests" / "a" / "pid");  // not even its pid is known
  launch({{0}, 2});
  EXPECT_TRUE(all_threads_over(old));
  ASSERT_EQ(processes().size(), 1u);
  EXPECT_EQ(processes()[0].marker.run, 2u);
}

TEST_F(HypervisorTest, ALaunchBesideALivingRunIsRefused) {
  launch();
  hypervisor->launch({{0}, 2});
  EXPECT_THAT(await<LaunchFailed>({{0}, 2}).why, HasSubstr("still exists"));
  EXPECT_EQ(processes().size(), 1u);
}

TEST_F(HypervisorTest, RelaunchesOverAndOver) {
  for (std::uint32_t run = 1; run <= 5; ++run) {
    launch({{0}, run});
    hypervisor->fence({{0}, run});
    (void)await<GuestFenced>({{0}, run});
    hypervisor->discard({{0}, run});
    (void)await<GuestGone>({{0}, run});
  }
  EXPECT_EQ(events.size(), 15u);
}

TEST_F(HypervisorTest, PathsThatCannotWorkAreRefusedAtTheStart) {
  settings.run_dir = directory.path / std::string(100, 'd');
  auto made = QemuHypervisor::create(loop.context, settings, *pool, {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("the kernel allows only 107"));
  settings.run_dir = directory.path;
  settings.guests[0].name = "../b";
  EXPECT_FALSE(QemuHypervisor::create(loop.context, settings, *pool, {}));
}

// ---- a restarted daemon ----

TEST_F(HypervisorTest, ARestartedDaemonFindsWhatIsPlugged) {
  launch();
  plug();
  const auto port = hypervisor->forwarded_port(kA, 6379);
  make_hypervisor();
  events.clear();
  calls.clear();
  hypervisor->adopt(kA);
  const auto adopted = await<GuestAdopted>(kA);
  EXPECT_TRUE(adopted.executing);
  ASSERT_EQ(adopted.areas.size(), 3u);
  EXPECT_EQ(adopted.areas[1].area, AreaId{1});
  EXPECT_EQ(adopted.areas[1].guest_address, 0x108000000u);
  EXPECT_EQ(calls.front(), "available");
  EXPECT_EQ(hypervisor->forwarded_port(kA, 6379), port);
  // And everything works as before.
  hypervisor->unplug(kA, kAreas);
  (void)await<AreaUnplugged>(kA, 3);
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
  EXPECT_EQ(events.size(), 7u);
}

TEST_F(HypervisorTest, AGuestThatPanickedMeanwhileDoesNotExecute) {
  launch();
  order(kA, "panic");
  (void)await<GuestPanicked>(kA);
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  EXPECT_FALSE(await<GuestAdopted>(kA).executing);
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
}

TEST_F(HypervisorTest, ABackingWithoutADeviceIsTakenAwayAtAdoption) {
  faults("refuse=device_add hangup=object-del");
  launch();
  hypervisor->plug(kA, std::span(kAreas).first(1));
  loop.run_for(milliseconds(20));  // object-del was sent, and never done
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  EXPECT_TRUE(await<GuestAdopted>(kA).areas.empty());
}

TEST_F(HypervisorTest, AdoptionOfWhatIsGoneOrOfAnotherRunIsGuestExited) {
  launch();
  make_hypervisor();
  hypervisor->adopt({{0}, 2});
  (void)await<GuestExited>({{0}, 2});
  hypervisor->adopt(kB);
  EXPECT_THAT(await<GuestExited>(kB).how, HasSubstr("while no daemon watched it"));
  EXPECT_EQ(processes().size(), 1u) << "run 1 was not asked for";
}

TEST_F(HypervisorTest, AGuestThatCannotBeManagedAnyMoreIsEnded) {
  launch();
  ASSERT_TRUE(hypervisor->sigstop(kA));
  make_hypervisor();
  hypervisor->adopt(kA);
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("did not answer within 500 ms"));
  EXPECT_TRUE(processes().empty());
}

TEST_F(HypervisorTest, AFenceOfARunThatThisDaemonDoesNotKnowIsReal) {
  launch();
  const pid_t pid = processes().at(0).pid;
  make_hypervisor();
  events.clear();
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  EXPECT_TRUE(all_threads_over(pid));
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
}

TEST_F(HypervisorTest, TheGuestsOutliveTheDaemonAndDownEndsThem) {
  launch();
  launch(kB);
  hypervisor.reset();
  loop.run_for(kQuiet);
  EXPECT_EQ(processes().size(), 2u);
  EXPECT_EQ(end_all(directory.path).value(), 2u);
  EXPECT_TRUE(processes().empty());
  EXPECT_FALSE(std::filesystem::exists(directory.path / "guests"));
}

// ---- vCPUs ----

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

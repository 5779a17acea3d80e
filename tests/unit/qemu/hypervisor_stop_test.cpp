// What "stopped" means: a state of QEMU that only we can end, and no thread of it running; or its end. Each
// of the two is tried alone, and with everything that could undo it.
#include "hypervisor_fixture.hpp"
#include "qemu/proc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

namespace understudy::qemu {
namespace {

using namespace core::event;
using namespace test;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

TEST_F(HypervisorTest, AFencedGuestIsHeldTwice) {
  launch();
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("QEMU says \"paused\""));
  EXPECT_TRUE(all_threads_stopped(pid));
  EXPECT_FALSE(all_threads_over(pid)) << "it is kept for a look at it";
  // Somebody lets its threads go on: QEMU's own state still holds the guest.
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  order(kA, "nothing");
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 2u) << "launched, fenced";
  hypervisor->discard(kA);
  (void)await<GuestGone>(kA);
}

// Whatever QEMU says that is no stop of ours: the process is ended, and only then is it fenced.
struct NoStop : HypervisorTest, testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Every, NoStop,
                         testing::Values("suspended", "inmigrate", "prelaunch", "save-vm", "restore-vm",
                                         "finish-migrate", "postmigrate", "colo", "debug", "watchdog",
                                         "a-state-of-the-future", ""),
                         [](const auto& state) {
                           std::string name = state.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name.empty() ? "empty" : name;
                         });

TEST_P(NoStop, IsEnded) {
  launch();
  const pid_t pid = hypervisor->pid(kA);
  order(kA, "status " + std::string(GetParam()));
  loop.run_for(kQuiet);
  hypervisor->fence(kA);
  const std::string how = await<GuestFenced>(kA).how;
  EXPECT_THAT(how, Not(HasSubstr("every thread of QEMU, too"))) << how;
  EXPECT_TRUE(all_threads_over(pid)) << how;
}

// A guest that stops by itself in such a state is ended, too.
TEST_P(NoStop, ByItselfIsTheEndOfTheGuest) {
  launch();
  order(kA, "stop " + std::string(GetParam()));
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("QEMU stopped it by itself"));
  EXPECT_TRUE(processes().empty());
}

struct Stop : HypervisorTest, testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Every, Stop,
                         testing::Values("paused", "guest-panicked", "shutdown", "internal-error",
                                         "io-error"));
TEST_P(Stop, IsKept) {
  launch();
  const pid_t pid = hypervisor->pid(kA);
  order(kA, "status " + std::string(GetParam()));
  loop.run_for(kQuiet);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr(GetParam()));
  EXPECT_TRUE(all_threads_stopped(pid));
}

struct SaidByQemu : HypervisorTest, testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Every, SaidByQemu, testing::Values("SUSPEND", "SUSPEND_DISK", "WAKEUP", "RESET"));

TEST_P(SaidByQemu, EndsARunningGuest) {
  launch();
  order(kA, std::string("event ") + GetParam());
  EXPECT_THAT(await<GuestExited>(kA).how, HasSubstr("its OS"));
  EXPECT_TRUE(processes().empty());
}

TEST_P(SaidByQemu, EndsAFencedGuestWhoseThreadsSomebodyLetGoOn) {
  launch();
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  order(kA, std::string("event ") + GetParam());
  EXPECT_TRUE(loop.until([&] { return hypervisor->pid(kA) == 0 || all_threads_over(pid); }));
}

TEST_F(HypervisorTest, APowerButtonIsNoStop) {
  launch();
  order(kA, "event POWERDOWN");
  loop.run_for(kQuiet);
  EXPECT_EQ(events.size(), 1u);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
}

TEST_F(HypervisorTest, AGuestOfAnEarlierVersionThatMaySuspendIsEndedByItsFence) {
  settings.qemu.program = (directory.path / "earlier").string();
  std::ofstream(settings.qemu.program) << "#!/bin/bash\nargs=()\nfor a in \"$@\"; do [[ $a == "
                                          "*disable_s[34]=1 ]] && a=${a/=1/=0}; args+=(\"$a\"); done\n"
                                          "exec -a earlier " +
                                              fs::read_symlink("/proc/self/exe").string() +
                                              " \"${args[@]}\"\n";
  fs::permissions(settings.qemu.program, fs::perms::owner_all);
  make_hypervisor();
  launch();
  make_hypervisor();  // the daemon of this version
  events.clear();
  hypervisor->adopt(kA);
  (void)await<GuestAdopted>(kA);
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  EXPECT_THAT(await<GuestFenced>(kA).how, HasSubstr("may suspend"));
  EXPECT_TRUE(all_threads_over(pid));
}

// ---- a daemon that is started again ----

TEST_F(HypervisorTest, TheNextDaemonClearsUpAGuestThatIsHeld) {
  launch();
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  make_hypervisor();
  events.clear();
  hypervisor->discard(kA);  // all that the core asks of what the journal has as fenced
  (void)await<GuestGone>(kA);
  EXPECT_TRUE(processes().empty());
  EXPECT_FALSE(fs::exists(directory.path / "guests" / "a" / "qmp.sock"));
  EXPECT_EQ(events.size(), 1u);
}

TEST_F(HypervisorTest, TheNextDaemonFencesAGuestWhoseFenceItDidNotHearOf) {
  launch();
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  make_hypervisor();
  events.clear();
  hypervisor->adopt(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  EXPECT_TRUE(all_threads_over(pid));
}

// ---- a dump ----

TEST_F(HypervisorTest, ADumpIsTakenOfAGuestThatIsHeldAgainAfterwards) {
  launch();
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->dump(kA);
  EXPECT_EQ(await<DumpDone>(kA).why_not, "");
  EXPECT_TRUE(loop.until([&] {
    loop.run_for(std::chrono::milliseconds(1));
    return all_threads_stopped(pid);
  }));
}

TEST_F(HypervisorTest, NoDumpOfAGuestThatIsInAnotherStateThanItWasFencedIn) {
  launch();
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  // Somebody let its threads go on, and its state ended, too.
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  order(kA, "status suspended");
  loop.run_for(kQuiet);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  hypervisor->dump(kA);
  const std::string why = await<DumpDone>(kA).why_not;
  EXPECT_TRUE(loop.until([&] {
    loop.run_for(std::chrono::milliseconds(1));
    return hypervisor->pid(kA) == 0 || all_threads_over(pid);
  })) << why;
  EXPECT_THAT(why, HasSubstr("\"suspended\""));
}

TEST_F(HypervisorTest, AGuestThatMovesDuringItsDumpIsEnded) {
  settings.dumps.limit = std::chrono::minutes(1);
  faults("dump-hangs");
  make_hypervisor();
  launch();
  const pid_t pid = hypervisor->pid(kA);
  hypervisor->fence(kA);
  (void)await<GuestFenced>(kA);
  hypervisor->dump(kA);
  loop.run_for(kQuiet);
  order(kA, "event RESUME");
  EXPECT_THAT(await<DumpDone>(kA).why_not, HasSubstr("RESUME"));
  EXPECT_TRUE(loop.until([&] { return all_threads_over(pid); }));
}

// ---- proofs ----

// A /proc as a kernel might show it.
struct Census : testing::Test {
  TemporaryDirectory proc;
  void process(int threads, const std::string& state = "T") const { write(proc.path / "7", threads, state); }
  void task(int id, const std::string& state, int flags = 0) const {
    write(proc.path / "7" / "task" / std::to_string(id), 1, state, flags);
  }
  static void write(const fs::path& directory, int threads, const std::string& state, int flags = 0) {
    fs::create_directories(directory);
    std::ofstream(directory / "stat") << "7 (a) b) " << state << " 1 7 7 0 -1 " << flags
                                      << " 0 0 0 0 5 6 0 0 20 0 " << threads << " 0 1 2 3\n";
  }
  [[nodiscard]] bool over() const { return all_threads_over(7, proc.path); }
  [[nodiscard]] bool stopped() const { return all_threads_stopped(7, proc.path); }
};
constexpr int kExiting = 4;

TEST_F(Census, AListingThatMissesALivingThreadProvesNothing) {
  process(3);
  task(7, "T");
  task(8, "T");
  EXPECT_FALSE(stopped()) << "the kernel counts three";
  task(9, "T");
  EXPECT_TRUE(stopped());
  process(3);
  task(7, "Z");
  task(8, "S", kExiting);
  fs::remove_all(proc.path / "7" / "task" / "9");
  EXPECT_FALSE(over()) << "the kernel counts three";
  task(9, "R");
  EXPECT_FALSE(over());
  task(9, "X");
  EXPECT_TRUE(over());
}

TEST_F(Census, OnlyTIsStopped) {
  process(2);
  task(7, "T");
  for (const char* state : {"R", "S", "D", "t", "I", "P", "W"}) {
    task(8, state);
    EXPECT_FALSE(stopped()) << state;
    EXPECT_FALSE(over()) << state;
  }
  task(8, "T", kExiting);
  EXPECT_FALSE(stopped()) << "the number of threads is about to change";
  task(8, "T");
  EXPECT_TRUE(stopped());
  EXPECT_FALSE(over()) << "a signal lets it go on";
}

TEST_F(Census, WhatCannotBeReadProvesNothing) {
  EXPECT_TRUE(over()) << "there is no such process";
  EXPECT_FALSE(stopped());
  process(1);
  task(7, "Z");
  std::ofstream(proc.path / "7" / "stat") << "what is this";
  EXPECT_FALSE(over());
  EXPECT_FALSE(stopped());
}

// The kernel stops a process's threads one after the other, and starts and ends them meanwhile.
TEST(StopOfAProcess, IsOnlyEverSeenWhenItIsTrue) {
  TemporaryDirectory directory;
  Loop loop;
  const Marker marker{"/run/understudy-test", "a", 1};
  // It counts, so that whoever still runs is seen to.
  const SpawnSpec spec{{"/usr/bin/python3", "-c",
                        "import threading, itertools\n"
                        "counts = open('" +
                            (directory.path / "counts").string() +
                            "', 'wb', 0)\n"
                            "def work():\n"
                            "  for i in itertools.count(): counts.seek(0); counts.write(b'%d' % i)\n"
                            "def come_and_go():\n"
                            "  while True: t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
                            "for f in (work, come_and_go, come_and_go): threading.Thread(target=f).start()\n",
                        "-name", name_option(marker)},
                       directory.path / "log",
                       {}};
  if (!fs::exists(spec.argv[0])) GTEST_SKIP() << "there is no " << spec.argv[0];
  auto process = QemuProcess::spawn(loop.context, spec, [](const std::string&) {});
  ASSERT_TRUE(process) << process.error().message;
  const auto counted = [&] { return read_proc_file(directory.path / "counts"); };
  ASSERT_TRUE(loop.until([&] {
    loop.run_for(std::chrono::milliseconds(5));
    return !counted().empty();
  }));
  for (int round = 0; round < 5; ++round) {
    std::optional<Result<void>> held;
    (*process)->stop(std::chrono::seconds(5), [&](const Result<void>& result) { held = result; });
    ASSERT_TRUE(loop.until([&] { return held.has_value(); }));
    ASSERT_TRUE(*held) << held->error().message;
    const std::string before = counted();
    loop.run_for(std::chrono::milliseconds(5));
    ASSERT_EQ(counted(), before) << "it ran on in round " << round;
    ASSERT_TRUE((*process)->go_on());
    ASSERT_TRUE(loop.until([&] {
      loop.run_for(std::chrono::milliseconds(1));
      return counted() != before;
    }));
  }
  bool over = false;
  (*process)->kill([&](const std::string&) { over = true; });
  EXPECT_TRUE(loop.until([&] { return over && (*process)->how_it_ended(); }));
}

}  // namespace
}  // namespace understudy::qemu

#include "agent/application.hpp"
#include "harness.hpp"

#include <gtest/gtest.h>
#include <signal.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

// A session of real processes, in which the test says how often the kernel has killed for lack of memory, and
// whether something is left that does not end.
class StagedContainer final : public Container {
 public:
  bool join_in_child() override { return session_.join_in_child(); }
  void forked(pid_t main_process, bool born_inside) override { session_.forked(main_process, born_inside); }
  Result<void> limit_memory(Bytes bytes) override {
    limit_bytes = bytes;
    return {};
  }
  [[nodiscard]] Bytes memory_used() const override { return used_bytes; }
  [[nodiscard]] Bytes kernel_memory_used() const override { return kernel_bytes; }
  [[nodiscard]] OutOfMemory out_of_memory() const override { return memory; }
  void limit_processes(std::uint64_t most) override { most_processes = most; }
  [[nodiscard]] bool limits_processes() const override { return most_processes != 0; }
  [[nodiscard]] std::uint64_t refused_processes() const override { return refused; }
  [[nodiscard]] std::vector<pid_t> processes() const override { return session_.processes(); }
  [[nodiscard]] bool populated() const override { return stuck || session_.populated(); }
  void signal_all(int signal) override { session_.signal_all(signal); }
  void kill_all() override { session_.kill_all(); }

  OutOfMemory memory;
  Bytes kernel_bytes = 0;
  Bytes limit_bytes = 0;
  Bytes used_bytes = 0;
  std::uint64_t most_processes = 0;
  std::uint64_t refused = 0;
  bool stuck = false;

 private:
  SessionContainer session_;
};

class ApplicationMemoryTest : public testing::Test {
 protected:
  ApplicationMemoryTest()
      : loop(*Loop::create()),
        children(*Children::create(*loop)),
        host{*loop,
             *children,
             [this](const std::string&) -> Result<std::unique_ptr<Container>> {
               auto made = std::make_unique<StagedContainer>();
               auto*& which =
                   container == nullptr ? container : checks;  // the first is the application's own
               which = made.get();
               return made;
             },
             [this](const protocol::FromAgent& message) { said.push_back(message); },
             [](protocol::AreaNumber) { return 128_MiB; },
             files.path(),
             "/etc/passwd",
             {},
             [] { return 500; },
             [this](Container& which, const protocol::Application&, Part part) {
               which.limit_processes(part == Part::helper ? processes / 4 : processes);
             },
             {},
             [this](const std::string&) { return shortage; }} {
    application = *Application::create(host, script("exec sleep 60"));
    children->on_any_end([this] { application->look(); });
  }
  ~ApplicationMemoryTest() override { children->on_any_end({}); }

  template <class T>
  T hear() {
    const Time end = Loop::now() + 60s;
    while (said.empty() && Loop::now() < end) loop->run_once(10ms);
    if (said.empty() || !std::holds_alternative<T>(said.front())) {
      ADD_FAILURE() << "not the message";
      return {};
    }
    const T message = std::get<T>(said.front());
    said.pop_front();
    return message;
  }
  template <class Condition>
  bool until(Condition condition) {
    const Time end = Loop::now() + 60s;
    while (!condition() && Loop::now() < end) loop->run_once(10ms);
    return condition();
  }
  void start(protocol::Epoch epoch = 7) {
    application->start({1, epoch, 100_MiB, {3}});
    pid = static_cast<pid_t>(hear<from::Serving>().pid);
  }
  // As the kernel does it: counted first, then killed.
  void run_out_of_memory() {
    ++container->memory.own_limit;
    ++container->memory.limits_below;
    ++container->memory.kills;
    ::kill(pid, SIGKILL);
  }
  void guest_runs_out_of_memory() {
    ++container->memory.kills;
    ::kill(pid, SIGKILL);
  }

  test::Directory files;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Children> children;
  std::deque<protocol::FromAgent> said;
  StagedContainer* container = nullptr;
  StagedContainer* checks = nullptr;
  std::uint64_t processes = 0;
  Shortage shortage{"the guest ran out", false};
  Host host;
  std::unique_ptr<Application> application;
  pid_t pid = -1;
};

// Found by two real applications in one guest: the second was given the memory that the first had not used
// yet.
TEST_F(ApplicationMemoryTest, WhatItMayStillTakeIsPromised) {
  EXPECT_EQ(application->promised_bytes(0), 0) << "nothing of it runs";
  EXPECT_EQ(application->promised_bytes(63_MiB), 63_MiB) << "it is to be started there";
  start();
  container->used_bytes = 30_MiB;
  EXPECT_EQ(application->promised_bytes(63_MiB), 70_MiB);
  container->kernel_bytes = 10_MiB;
  EXPECT_EQ(application->promised_bytes(63_MiB), 60_MiB);
  EXPECT_EQ(application->promised_bytes(126_MiB), 86_MiB) << "a rehearsal's area may be more than it needs";
  container->used_bytes = 130_MiB;  // what is shared may be counted twice
  EXPECT_EQ(application->promised_bytes(63_MiB), 0);
}

TEST_F(ApplicationMemoryTest, AsksForMoreAndStartsAgainWithIt) {
  start();
  EXPECT_EQ(container->limit_bytes, 100_MiB);
  run_out_of_memory();
  EXPECT_EQ(hear<from::WantsMemory>().more_bytes, 64_MiB);
  EXPECT_EQ(application->state().phase, protocol::Phase::wanting_memory);
  application->say_where_it_stands();
  EXPECT_EQ(hear<from::WantsMemory>().epoch, 7u);
  application->grow_done({1, 7, 228_MiB, {4}});
  const auto serving = hear<from::Serving>();
  EXPECT_EQ(container->limit_bytes, 228_MiB);
  EXPECT_EQ(serving.areas, (std::vector<protocol::AreaNumber>{3, 4}));
  EXPECT_NE(static_cast<pid_t>(serving.pid), pid);
}

TEST_F(ApplicationMemoryTest, CrawlingAtItsLimitIsRunningOutOfMemory) {
  start();
  container->stalled();
  EXPECT_EQ(hear<from::WantsMemory>().more_bytes, 64_MiB);
  EXPECT_TRUE(container->processes().empty());
  container->stalled();  // told late
  application->grow_refused({1, 7, "the pool is used up"});
  EXPECT_EQ(hear<from::Restarting>().cause, "out of memory, and more was refused: the pool is used up");
  (void)hear<from::Serving>();
}

TEST_F(ApplicationMemoryTest, AKillOfTheKernelsBesidesIsSaidOnce) {
  auto definition = script("exec sleep 60");
  definition.ready = protocol::Ready::notify;
  application->redefine(definition);
  application->start({1, 7, 100_MiB, {}});
  ++container->memory.kills;
  ++container->memory.own_limit;
  container->stalled();
  EXPECT_EQ(hear<from::StartFailed>().why,
            "out of memory (limit 100 MiB): it did little but read in its own program again");
}

TEST_F(ApplicationMemoryTest, CrawlingBeforeItEverServedFailsTheStart) {
  auto definition = script("exec sleep 60");
  definition.ready = protocol::Ready::notify;
  application->redefine(definition);
  application->start({1, 7, 100_MiB, {}});
  container->stalled();
  EXPECT_EQ(hear<from::StartFailed>().why,
            "out of memory (limit 100 MiB): it did little but read in its own program again");
}

TEST_F(ApplicationMemoryTest, AStartOfTheSameEpochIsAnAnswerToo) {
  start();
  run_out_of_memory();
  (void)hear<from::WantsMemory>();
  application->start({1, 7, 300_MiB, {3, 5}});
  EXPECT_EQ(hear<from::Serving>().areas, (std::vector<protocol::AreaNumber>{3, 5}));
  EXPECT_EQ(container->limit_bytes, 300_MiB);
}

TEST_F(ApplicationMemoryTest, RefusedItIsRestartedWithWhatItHas) {
  start();
  run_out_of_memory();
  (void)hear<from::WantsMemory>();
  application->grow_refused({1, 6, "of another epoch"});
  application->grow_refused({1, 7, "the pool is used up"});
  EXPECT_EQ(hear<from::Restarting>().cause, "out of memory, and more was refused: the pool is used up");
  (void)hear<from::Serving>();
  EXPECT_EQ(container->limit_bytes, 100_MiB);
}

TEST_F(ApplicationMemoryTest, AnOldKillIsNotThisRunsReason) {
  container->memory = {5, 5, 5};
  start();
  ::kill(pid, SIGKILL);
  EXPECT_EQ(hear<from::Restarting>().cause, "killed by signal 9 (SIGKILL)");
}

TEST_F(ApplicationMemoryTest, RunningOutOfMemoryBeforeItEverServedFailsTheStart) {
  auto definition = script("exec sleep 60");
  definition.ready = protocol::Ready::notify;
  application->redefine(definition);
  application->start({1, 7, 100_MiB, {}});
  ++container->memory.own_limit;
  ++container->memory.limits_below;
  ++container->memory.kills;
  container->kill_all();
  EXPECT_EQ(hear<from::StartFailed>().why, "out of memory (limit 100 MiB): killed by signal 9 (SIGKILL)");
}

// The guest's kernel had no memory of its own left: no limit of the application's was reached.
TEST_F(ApplicationMemoryTest, AGuestOutOfMemoryIsNamedAndNotAnsweredWithAreas) {
  start();
  guest_runs_out_of_memory();
  const auto restarting = hear<from::Restarting>();
  EXPECT_EQ(restarting.cause, "killed by signal 9 (SIGKILL); the guest ran out");
  EXPECT_EQ(restarting.attempt, 1u);
}

TEST_F(ApplicationMemoryTest, ANeighboursUseOfTheGuestDoesNotCountAgainstIt) {
  shortage.somebody_elses = true;
  start();
  for (int i = 0; i < 5; ++i) {  // more often than it may be restarted
    guest_runs_out_of_memory();
    EXPECT_EQ(hear<from::Restarting>().attempt, 0u);
    pid = static_cast<pid_t>(hear<from::Serving>().pid);
  }
}

TEST_F(ApplicationMemoryTest, ALimitThatItHasSetItselfIsItsOwnAffair) {
  start();
  ++container->memory.kills;
  ++container->memory.limits_below;
  ::kill(pid, SIGKILL);
  EXPECT_EQ(hear<from::Restarting>().cause,
            "killed by signal 9 (SIGKILL); a memory limit was reached that it had set itself, below its own");
}

// What was said of one that does not die is said again, to a daemon that was not there or asks again.
TEST_F(ApplicationMemoryTest, WhatDoesNotDieIsReportedWheneverItHappensAndAgain) {
  start();
  container->stuck = true;
  ::kill(pid, SIGKILL);
  // Clients are led there until the daemon knows.
  const auto ending = hear<from::Restarting>();
  EXPECT_TRUE(ending.ending);
  EXPECT_EQ(ending.cause, "killed by signal 9 (SIGKILL)");
  const Time end = Loop::now() + 2 * Application::kKillPatience;
  while (said.empty() && Loop::now() < end) loop->run_once(100ms);
  const auto failed = hear<from::StopFailed>();
  EXPECT_EQ(failed.epoch, 7u);
  EXPECT_NE(failed.why.find("still there 10 s after SIGKILL, ending after a fault"), std::string::npos)
      << failed.why;
  application->say_where_it_stands();
  EXPECT_EQ(hear<from::StopFailed>(), failed);
  container->stuck = false;
  application->look();
  EXPECT_FALSE(hear<from::Restarting>().ending);
  (void)hear<from::Serving>();
  application->say_where_it_stands();
  (void)hear<from::Serving>();
}

// A check that hangs on a disk for ever holds what the application holds.
TEST_F(ApplicationMemoryTest, ItsChecksHaveEndedTooBeforeItIsSaidToHave) {
  start();
  checks->stuck = true;
  application->stop({1, 7});
  for (int i = 0; i < 50; ++i) loop->run_once(5ms);
  EXPECT_TRUE(said.empty());
  checks->stuck = false;
  application->look();
  (void)hear<from::Stopped>();
}

TEST_F(ApplicationMemoryTest, StopWhileItWantsMemoryIsImmediate) {
  start();
  run_out_of_memory();
  (void)hear<from::WantsMemory>();
  application->stop({1, 7});
  (void)hear<from::Stopped>();
  application->grow_done({1, 7, 1_GiB, {}});  // too late
  EXPECT_EQ(application->state().phase, protocol::Phase::idle);
}

TEST_F(ApplicationMemoryTest, NothingIsSaidToHaveEndedWhileSomethingIsLeft) {
  start();
  container->stuck = true;
  run_out_of_memory();
  EXPECT_TRUE(hear<from::Restarting>().ending);
  for (int i = 0; i < 50; ++i) loop->run_once(5ms);
  EXPECT_TRUE(said.empty());
  EXPECT_EQ(application->state().phase, protocol::Phase::ending);
  application->stop({1, 7});
  for (int i = 0; i < 50; ++i) loop->run_once(5ms);
  EXPECT_TRUE(said.empty());
  container->stuck = false;
  application->look();
  (void)hear<from::Stopped>();
}

TEST_F(ApplicationMemoryTest, ANewEpochIsNotStartedWhileSomethingOfTheOldIsLeft) {
  start();
  container->stuck = true;
  application->start({1, 8, 100_MiB, {}});
  for (int i = 0; i < 50; ++i) loop->run_once(5ms);
  EXPECT_TRUE(said.empty());
  EXPECT_TRUE(container->processes().empty());
  container->stuck = false;
  application->look();
  EXPECT_EQ(hear<from::Serving>().epoch, 8u);
}

TEST_F(ApplicationMemoryTest, WhatItUsesOfTheBaseIsWhatItsAreasDoNotCover) {
  application->start({1, 7, 200_MiB, {3}});
  EXPECT_EQ(hear<from::Serving>().base_use_bytes, 200_MiB - 126_MiB);
}

// The first application of a file has the number 0, and so has "no rehearsal": what was engaged for the one
// was given to any other that has none.
TEST_F(ApplicationMemoryTest, WhoHasNoRehearsalHasNoPartOfTheFirstOne) {
  auto definition = script("exec sleep 60");
  definition.app = 0;
  application->redefine(definition);
  const auto other = *Application::create(host, script("exec sleep 60"));
  EXPECT_FALSE(application->rehearsed_for(*other));
  auto rehearsed = script("exec sleep 60");
  rehearsed.rehearsal = 9;
  definition.app = 9;
  application->redefine(definition);
  other->redefine(rehearsed);
  EXPECT_TRUE(application->rehearsed_for(*other));
}

// A neighbour that ran as the same user used up that user's limit, and the takeover failed.
TEST_F(ApplicationMemoryTest, ALimitOfItsOwnTakesThePlaceOfItsUsers) {
  application->redefine(script("awk '/^Max processes/ {print $3}' /proc/self/limits > " + files.path() +
                               "/limit; exec sleep 60"));
  start();
  ASSERT_TRUE(until([&] { return files.read("limit") == "500\n"; })) << files.read("limit");
  application->stop({1, 7});
  (void)hear<from::Stopped>();
  processes = 80;
  std::filesystem::remove(files.path() + "/limit");
  start(8);
  EXPECT_EQ(container->most_processes, 80u);
  EXPECT_EQ(checks->most_processes, 20u);
  ASSERT_TRUE(until([&] { return files.read("limit").ends_with("\n"); }));
  EXPECT_NE(files.read("limit"), "500\n");
}

TEST_F(ApplicationMemoryTest, WhatWasRefusedProcessesSaysSo) {
  processes = 80;
  container->refused = 3;  // of a former life
  start();
  ::kill(pid, SIGKILL);
  EXPECT_EQ(hear<from::Restarting>().cause.find("was refused more"), std::string::npos);
  pid = static_cast<pid_t>(hear<from::Serving>().pid);
  ++container->refused;
  ::kill(pid, SIGKILL);
  EXPECT_NE(hear<from::Restarting>().cause.find("was refused more"), std::string::npos);
}

}  // namespace
}  // namespace understudy::agent

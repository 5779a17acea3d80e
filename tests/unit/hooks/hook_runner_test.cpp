#include "hooks/hook_runner.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <fstream>
#include <sstream>

namespace understudy::hooks {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr const char* kTakeover =
    R"({"number":7,"time":"2026-11-22T10:44:42.123Z","severity":"info","kind":"takeover-done","text":"redis serves","guest":"beta","application":"redis"})";

// Real commands, in a directory that is gone when the test ends.
class Hooks : public testing::Test {
 protected:
  Hooks() {
    std::string name = (fs::temp_directory_path() / "understudy-hooks-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  ~Hooks() override {
    runner_.reset();
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }

  void add(std::vector<std::string> on, const std::string& script,
           Duration limit = std::chrono::seconds(20)) {
    hooks_.push_back({std::move(on), {"/bin/sh", "-c", script, "hook", directory_.string()}, limit});
  }
  HookRunner& runner() {
    if (!runner_)
      runner_ = std::make_unique<HookRunner>(loop_, hooks_, directory_, [this](const core::Notice& notice) {
        told_.push_back(notice.kind + ": " + notice.text);
      });
    return *runner_;
  }
  template <class Met>
  void run_until(Met met) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!met()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "not in time";
      loop_.restart();
      loop_.run_one_for(std::chrono::milliseconds(100));
    }
  }
  void run_all() {
    run_until([this] { return runner().running() == 0 && runner().waiting() == 0; });
    loop_.restart();
    loop_.poll();
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(directory_ / name);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  [[nodiscard]] fs::path file(const std::string& name) const { return directory_ / name; }

  boost::asio::io_context loop_;
  fs::path directory_;
  std::vector<config::Hook> hooks_;
  std::vector<std::string> told_;
  std::unique_ptr<HookRunner> runner_;
};

TEST_F(Hooks, GetsTheEventAsJsonAndAsVariables) {
  add({"takeover-done"},
      "cat > $1/input; echo "
      "\"$UNDERSTUDY_EVENT/$UNDERSTUDY_SEVERITY/$UNDERSTUDY_GUEST/$UNDERSTUDY_APPLICATION/"
      "$UNDERSTUDY_NUMBER/$UNDERSTUDY_TEXT/$UNDERSTUDY_RUN_DIR\" > $1/variables; pwd > $1/where");
  runner().event(kTakeover);
  EXPECT_EQ(runner().running(), 0U) << "it was started from inside event()";
  run_all();
  EXPECT_EQ(read("input"), std::string(kTakeover) + "\n");
  EXPECT_EQ(read("variables"), "takeover-done/info/beta/redis/7/redis serves/" + directory_.string() + "\n");
  EXPECT_EQ(read("where"), "/\n");
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(Hooks, RunsOnItsKindsAloneAndOnEveryKindForAStar) {
  add({"guest-ready", "takeover-done"}, "echo $UNDERSTUDY_EVENT >> $1/some");
  add({"*"}, "echo $UNDERSTUDY_EVENT >> $1/every");
  for (const char* kind : {"guest-ready", "guest-fenced", "takeover-done"}) {
    runner().event(std::string(R"({"kind":")") + kind + R"("})");
    run_all();
  }
  EXPECT_EQ(read("some"), "guest-ready\ntakeover-done\n");
  EXPECT_EQ(read("every"), "guest-ready\nguest-fenced\ntakeover-done\n");
}

TEST_F(Hooks, FailureIsAnEventThatSetsNoHookOff) {
  add({"*"}, "echo first; echo cannot reach the pager >&2; exit 3");
  runner().event(kTakeover);
  run_all();
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_EQ(told_[0],
            "hook-failed: hook /bin/sh on takeover-done failed: exit status 3; its last words: cannot reach "
            "the pager");
  runner().event(R"({"kind":"hook-failed","text":"..."})");
  runner().event(R"({"kind":"hooks-dropped","text":"..."})");
  EXPECT_EQ(runner().waiting(), 0U);
}

TEST_F(Hooks, SaysWhenTheCommandCannotBeRun) {
  hooks_.push_back({{"*"}, {"/no/such/program"}, std::chrono::seconds(20)});
  runner().event(kTakeover);
  run_all();
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_THAT(told_[0], HasSubstr("/no/such/program on takeover-done failed: exit status 127"));
  EXPECT_THAT(told_[0], HasSubstr("it cannot be run: No such file or directory"));
}

TEST_F(Hooks, SaysWhichSignalEndedIt) {
  add({"*"}, "kill -TERM $$");
  runner().event(kTakeover);
  run_all();
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_THAT(told_[0], HasSubstr("killed by signal 15 (SIGTERM)"));
}

bool exists(const std::string& pid) {
  return ::kill(static_cast<pid_t>(std::stol(pid)), 0) == 0 || errno != ESRCH;
}

TEST_F(Hooks, IsKilledAtItsLimitWithAllThatItStarted) {
  add({"*"}, "trap '' TERM; sleep 1000 & echo $! > $1/child; echo $$ > $1/self; wait",
      std::chrono::milliseconds(700));
  runner().event(kTakeover);
  run_all();
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_THAT(told_[0], HasSubstr("failed: killed: it ran for more than 700 ms"));
  const std::string child = read("child");
  ASSERT_THAT(child, Not(IsEmpty()));
  // The kernel may need a moment for an orphan.
  run_until([&] {
    loop_.poll();
    std::ifstream stat("/proc/" + std::to_string(std::stol(child)) + "/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    return !exists(child) || text.find(") Z ") != std::string::npos;
  });
  EXPECT_FALSE(exists(read("self")));
}

TEST_F(Hooks, DoesNotWaitForWhatItsCommandLeftBehind) {
  add({"*"}, "sleep 1000 & exit 0");
  runner().event(kTakeover);
  run_all();
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(Hooks, NeitherFloodsNorBlocksWithItsOutput) {
  add({"*"}, "head -c 3000000 /dev/zero; printf '\\033[2Jlast\\n'; exit 1");
  runner().event(kTakeover);
  run_all();
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_LT(told_[0].size(), 400U);
  EXPECT_EQ(told_[0].find('\033'), std::string::npos);
}

TEST_F(Hooks, AFewRunAtOnceOthersWaitTheRestIsDroppedAndThatIsSaidOnce) {
  add({"*"}, "echo $$ > $1/$UNDERSTUDY_NUMBER; while [ ! -e $1/go ]; do sleep 0.02; done");
  const std::size_t all = HookRunner::kMostAtOnce + HookRunner::kMostWaiting;
  std::size_t number = 0;
  const auto send = [&] { runner().event(R"({"kind":"drill","number":)" + std::to_string(++number) + "}"); };
  for (std::size_t i = 0; i < HookRunner::kMostAtOnce; ++i) send();
  run_until([&] { return runner().running() == HookRunner::kMostAtOnce; });
  for (std::size_t i = 0; i < HookRunner::kMostWaiting + 10; ++i) send();
  run_until([&] { return !told_.empty(); });
  send();
  loop_.restart();
  loop_.poll();
  EXPECT_EQ(runner().running(), HookRunner::kMostAtOnce);
  EXPECT_EQ(runner().waiting(), HookRunner::kMostWaiting);
  std::ofstream(file("go")) << "go";
  run_all();
  ASSERT_THAT(told_, SizeIs(1)) << told_.back();
  EXPECT_THAT(told_[0], HasSubstr("hooks-dropped: "));
  EXPECT_TRUE(fs::exists(file(std::to_string(all))));
  EXPECT_FALSE(fs::exists(file(std::to_string(all + 1))));
  // There is room again, and dropping is said again.
  send();
  run_all();
  EXPECT_TRUE(fs::exists(file(std::to_string(number))));
}

TEST_F(Hooks, EndsWithItsRunner) {
  add({"*"}, "echo $$ > $1/self.part; mv $1/self.part $1/self; exec sleep 1000");
  runner().event(kTakeover);
  run_until([&] { return fs::exists(file("self")); });
  const std::string pid = read("self");
  EXPECT_TRUE(exists(pid));
  runner_.reset();
  EXPECT_FALSE(exists(pid));
  loop_.restart();
  loop_.poll();
}

TEST_F(Hooks, WhatIsNoEventSetsNothingOff) {
  add({"*"}, "true");
  for (const char* line : {"", "[]", "{", "{}", R"({"kind":1})"}) runner().event(line);
  EXPECT_EQ(runner().waiting(), 0U);
}

TEST_F(Hooks, BytesOfAGuestStayOutOfVariables) {
  add({"*"}, "printf %s \"$UNDERSTUDY_TEXT\" > $1/text");
  runner().event("{\"kind\":\"app-faulted\",\"text\":\"a\\u0000b\\u001b[2Jc\\nUNDERSTUDY_GUEST=x\"}");
  run_all();
  EXPECT_EQ(read("text"), "a?b?[2Jc?UNDERSTUDY_GUEST=x");
}

}  // namespace
}  // namespace understudy::hooks

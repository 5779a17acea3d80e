// A daemon that was not let run (stopped, swapped out, on a host that slept) finds everybody late at once.
// What it did not see counts against nobody.
#include "stage.hpp"

namespace understudy::core {
namespace {

using namespace std::chrono_literals;

// The daemon is let run again: its timer is looked at first, or what one guest has sent meanwhile.
class LostTime : public testing::TestWithParam<bool> {
 protected:
  void stall(Stage& stage, Duration time) {
    stage.now += time;
    if (GetParam()) stage.give(event::Tick{});
    for (int beat = 0; beat < 100; ++beat) {
      for (const char* guest : {"alpha", "beta"}) {
        if (heard(guest)) stage.give(event::AgentBeat{stage.run(guest), stage.memory(stage.run(guest))});
        if (beat == 0 && guest == std::string("alpha")) stage.give(event::Tick{});
      }
    }
    stage.settle();
  }
  [[nodiscard]] bool heard(const std::string& guest) const { return guest != silent; }

  std::string silent;
};
INSTANTIATE_TEST_SUITE_P(Order, LostTime, testing::Bool(),
                         [](const auto& order) { return order.param ? "TimerFirst" : "MessagesFirst"; });

TEST_P(LostTime, NobodyIsSuspectedOrFenced) {
  for (const Duration time : {Duration(1s), Duration(14s), Duration(20s), Duration(10min)}) {
    Stage stage;
    stage.up();
    stage.pass(2s);
    stage.forget();
    stall(stage, time);
    EXPECT_EQ(stage.is("alpha"), "ready");
    EXPECT_EQ(stage.is("beta"), "ready");
    EXPECT_EQ(stage.where("db"), "serving on alpha");
    EXPECT_FALSE(stage.noted("guest-suspected"));
    EXPECT_EQ(stage.noted("daemon-late"), time > 1s + 500ms);
    stage.pass(20s);
    EXPECT_EQ(stage.run("alpha").run, 1U);
  }
}

TEST_P(LostTime, WhoReallyFailedMeanwhileIsFoundAndTakenOverFor) {
  Stage stage;
  stage.up();
  stage.pass(2s);
  silent = "alpha";
  stage.dead_kernels.insert("alpha");
  stall(stage, 60s);
  EXPECT_EQ(stage.where("db"), "serving on alpha") << "nobody has looked yet";
  stage.pass(3s, {"alpha"});
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST_P(LostTime, AnAnswerThatCameMeanwhileIsNotLate) {
  Stage stage;
  stage.up();
  stage.hold<action::AskStart>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "starting on beta");
  stage.forget();
  stall(stage, 5min);
  EXPECT_EQ(stage.where("db"), "starting on beta") << "its start limit has passed while nobody listened";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.run("beta").run, 1U);
}

TEST_P(LostTime, AGuestThatBootsIsGivenItsTime) {
  Stage stage;
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestPanicked{stage.run("beta")});
  stage.settle();
  const GuestRun again = stage.run("beta");
  stage.give(event::GuestLaunched{again, ""});
  ASSERT_EQ(stage.is("beta"), "booting");
  silent = "beta";
  stall(stage, 5min);
  EXPECT_EQ(stage.is("beta"), "booting");
  stage.give(event::AgentGreeted{again, stage.memory(again)});
  EXPECT_EQ(stage.is("beta"), "ready");
}

// However overloaded the host is: silence is found in the end.
TEST(LostTimeEachTime, ADaemonThatIsAlwaysLateStillFindsAHang) {
  Stage stage;
  stage.up();
  stage.dead_kernels.insert("alpha");
  const GuestRun beta = stage.run("beta");
  for (int i = 0; i < 60 && stage.where("db") != "serving on beta"; ++i) {
    stage.now = std::max(stage.now, stage.core.next_deadline().value_or(stage.now)) + 400ms;
    stage.give(event::AgentBeat{beta, stage.memory(beta)});
    stage.give(event::Tick{});
    stage.settle();
  }
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(LostTimeEachTime, SomeLatenessIsNothingSpecial) {
  Stage stage;
  stage.up();
  stage.forget();
  stage.now = *stage.core.next_deadline() + 240ms;
  stage.give(event::Tick{});
  EXPECT_TRUE(stage.noted("guest-suspected"));
}

}  // namespace
}  // namespace understudy::core

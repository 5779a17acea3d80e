#include "stage.hpp"

namespace understudy::core {
namespace {

TEST(FirstStart, TakesTheOnePathToServing) {
  Stage stage;
  stage.give(event::BringUp{});
  EXPECT_EQ(stage.asked<action::Launch>().size(), 2U);
  EXPECT_EQ(stage.where("db"), "waiting");
  stage.settle();

  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.areas(AreaState::engaged), 4U);
  EXPECT_EQ(stage.areas_in("alpha"), 4U);
  ASSERT_EQ(stage.out.reports.size(), 1U);
  EXPECT_FALSE(stage.out.reports[0].from);
  EXPECT_EQ(stage.out.reports[0].result, "serving");
}

TEST(FirstStart, WaitsForThePreferredGuestThatIsStillComing) {
  Stage stage;
  stage.hold<action::Launch>();
  stage.give(event::BringUp{});
  const auto alpha = stage.take_request<action::Launch>();
  const auto beta = stage.take_request<action::Launch>();
  stage.give(event::GuestLaunched{beta.run});
  stage.give(event::AgentGreeted{beta.run, stage.memory(beta.run)});
  EXPECT_EQ(stage.where("db"), "waiting");
  stage.give(event::GuestLaunched{alpha.run});
  stage.give(event::AgentGreeted{alpha.run, stage.memory(alpha.run)});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST(FirstStart, GoesToTheNextGuestWhenThePreferredOneCannotBeLaunched) {
  Stage stage;
  stage.hold<action::Launch>();
  stage.give(event::BringUp{});
  const auto alpha = stage.take_request<action::Launch>();
  stage.hold_nothing();
  stage.give(event::LaunchFailed{alpha.run, "no KVM"});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_TRUE(stage.noted("guest-launch-failed"));
  stage.pass(std::chrono::seconds(3));
  EXPECT_EQ(stage.is("alpha"), "ready") << "it is tried again after a while";
}

TEST(FirstStart, NothingIsStartedBeforeTheGuestConfirmedTheMemory) {
  Stage stage;
  stage.hold<action::AskEngage>();
  stage.give(event::BringUp{});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "onlining on alpha");
  EXPECT_TRUE(stage.asked<action::AskStart>().empty());
  EXPECT_EQ(stage.areas(AreaState::plugged), 4U);
}

TEST(FirstStart, PanicInTheMiddleLeadsToTheOtherGuest) {
  for (const char* step : {"sizing", "attaching", "onlining", "starting"}) {
    SCOPED_TRACE(step);
    Stage stage;
    if (step == std::string("sizing")) stage.hold<action::AskNeed>();
    if (step == std::string("attaching")) stage.hold<action::Plug>();
    if (step == std::string("onlining")) stage.hold<action::AskEngage>();
    if (step == std::string("starting")) stage.hold<action::AskStart>();
    stage.give(event::BringUp{});
    stage.settle();
    ASSERT_EQ(stage.where("db"), std::string(step) + " on alpha");
    stage.hold_nothing();
    stage.waiting.clear();
    stage.forget();
    stage.give(event::GuestPanicked{stage.run("alpha")});
    EXPECT_EQ(stage.where("db"), "fencing on alpha");
    EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
    stage.settle();
    EXPECT_EQ(stage.where("db"), "serving on beta");
    EXPECT_EQ(stage.areas_in("beta"), 4U);
  }
}

TEST(FirstStart, ANeedLargerThanThePoolIsCutToTheMinimum) {
  core::Setup setup = plain_setup();
  setup.apps[0].minimum_bytes = 250_MiB;
  setup.pool.area_count = 2;
  Stage stage(setup);
  stage.up();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.areas_in("alpha"), 2U);
  EXPECT_EQ(stage.core.state().app(stage.app("db")).serving()->limit_bytes, 2 * 126_MiB);
}

TEST(FirstStart, ANeedThatNothingCanMeetWaitsAndSaysWhy) {
  core::Setup setup = plain_setup();
  setup.pool.area_count = 3;
  Stage stage(setup);
  stage.up();
  EXPECT_EQ(stage.where("db"), "waiting");
  const auto* choosing = stage.core.state().app(stage.app("db")).in_step<move_step::Choosing>();
  ASSERT_NE(choosing, nullptr);
  EXPECT_NE(choosing->why_not_yet.find("only 384 MiB of the pool could be given to db"), std::string::npos)
      << choosing->why_not_yet;
}

TEST(FirstStart, AnApplicationThatFitsTheBaseMemoryGetsNoArea) {
  core::Setup setup = plain_setup();
  setup.apps[0].desired_bytes = setup.apps[0].minimum_bytes = 20_MiB;
  Stage stage(setup);
  stage.spare_bytes = 80_MiB;
  stage.up();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.areas_in("alpha"), 0U);
}

// Found by the simulator: nothing was given at all, because the desired size did not fit.
TEST(FirstStart, MemorySlotsBoundWhatIsGiven) {
  core::Setup setup = plain_setup();
  setup.apps[0].minimum_bytes = 250_MiB;
  setup.guests[0].slots = 3;
  Stage stage(setup);
  stage.up();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.areas_in("alpha"), 3U);
}

TEST(FirstStart, ThoseOfHigherPriorityAreServedFirst) {
  core::Setup setup = plain_setup(2, 2);
  setup.pool.area_count = 4;
  setup.apps[1].priority = 1;
  Stage stage(setup);
  stage.up();
  EXPECT_EQ(stage.where("web"), "serving on alpha");
  EXPECT_EQ(stage.where("db"), "waiting");
}

TEST(FirstStart, AGuestThatNeverGetsReadyIsFencedAndLaunchedEverMoreRarely) {
  Stage stage(plain_setup(1));
  stage.hold<action::Launch>();
  stage.give(event::BringUp{});
  std::vector<Duration> gaps;
  for (int i = 0; i < 4; ++i) {
    stage.give(event::GuestLaunched{stage.take_request<action::Launch>().run});
    stage.pass(std::chrono::seconds(20));
    const Time ended = stage.now;
    ASSERT_TRUE(stage.is("alpha") == "off" || stage.waits<action::Launch>()) << stage.is("alpha");
    while (!stage.waits<action::Launch>()) stage.pass(std::chrono::milliseconds(100));
    gaps.push_back(stage.now - ended);
  }
  EXPECT_LT(gaps[0], gaps[1]);
  EXPECT_LT(gaps[1], gaps[2]);
}

}  // namespace
}  // namespace understudy::core

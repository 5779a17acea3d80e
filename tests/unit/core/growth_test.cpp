#include "stage.hpp"

namespace understudy::core {
namespace {

core::Setup growing_setup(std::uint32_t areas = 8, Bytes maximum = 1_GiB) {
  core::Setup setup = plain_setup();
  setup.apps[0].maximum_bytes = maximum;
  setup.pool.area_count = areas;
  return setup;
}

event::AppWantsMemory wants(const Stage& stage, Bytes more) {
  return {stage.run("alpha"), stage.app("db"), stage.epoch("db"), more};
}

TEST(Growth, UnusedAreasAreAddedAndConfirmedBeforeTheAnswer) {
  Stage stage(growing_setup());
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(wants(stage, 200_MiB));
  stage.settle();
  EXPECT_EQ(stage.asked<action::Plug>().size(), 2U);
  EXPECT_TRUE(stage.asked<action::AnswerGrowth>().empty());
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  stage.hold_nothing();
  stage.settle();
  ASSERT_EQ(stage.asked<action::AnswerGrowth>().size(), 1U);
  EXPECT_EQ(stage.asked<action::AnswerGrowth>()[0].areas.size(), 2U);
  EXPECT_EQ(stage.asked<action::AnswerGrowth>()[0].memory_limit_bytes, 500_MiB + 2 * 126_MiB);
  EXPECT_EQ(stage.areas_in("alpha"), 6U);
}

TEST(Growth, AtItsMaximumItGetsNoMore) {
  Stage stage(growing_setup(8, 500_MiB));
  stage.up();
  stage.give(wants(stage, 200_MiB));
  ASSERT_EQ(stage.asked<action::AnswerGrowth>().size(), 1U);
  EXPECT_TRUE(stage.asked<action::AnswerGrowth>()[0].areas.empty());
  EXPECT_NE(stage.asked<action::AnswerGrowth>()[0].why_not, "");
  EXPECT_TRUE(stage.asked<action::Plug>().empty());
}

TEST(Growth, WithThePoolUsedUpItGetsNoMore) {
  Stage stage(growing_setup(4));
  stage.up();
  stage.give(wants(stage, 200_MiB));
  ASSERT_EQ(stage.asked<action::AnswerGrowth>().size(), 1U);
  EXPECT_NE(stage.asked<action::AnswerGrowth>()[0].why_not.find("unused"), std::string::npos);
}

TEST(Growth, AGuestCannotAskForMoreThanTheMaximum) {
  Stage stage(growing_setup(40, 700_MiB));
  stage.up();
  stage.give(wants(stage, ~0ULL));
  EXPECT_EQ(stage.asked<action::Plug>().size(), 2U);
}

TEST(Growth, TheMaximumIsNeverPassed) {
  Stage stage(growing_setup(40, 700_MiB));
  stage.up();
  for (int i = 0; i < 5; ++i) {
    stage.give(wants(stage, 128_MiB));
    stage.settle();
  }
  EXPECT_EQ(stage.core.state().app(stage.app("db")).serving()->limit_bytes, 700_MiB);
  EXPECT_EQ(stage.areas_in("alpha"), 6U);
}

// Found by the simulator: the application waited for ever.
TEST(Growth, ALostAnswerFencesTheGuestAtTheLimit) {
  Stage stage(growing_setup());
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(wants(stage, 100_MiB));
  stage.settle();
  stage.waiting.clear();
  stage.hold_nothing();
  stage.pass(std::chrono::seconds(21));
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(Growth, AnOsThatCannotTakeTheMemoryIsFenced) {
  Stage stage(growing_setup());
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(wants(stage, 100_MiB));
  stage.settle();
  const auto request = stage.take_request<action::AskEngage>();
  stage.hold_nothing();
  stage.give(event::EngageFailed{request.run, request.app, request.epoch, "no memory"});
  EXPECT_EQ(stage.is("alpha"), "fencing");
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(Growth, AFaultInTheMiddleWaitsForWhatIsOnItsWayAndFencesNobody) {
  Stage stage(growing_setup());
  stage.up();
  stage.hold<action::Plug>();
  stage.give(wants(stage, 100_MiB));
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed", ""});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "releasing on alpha");
  EXPECT_TRUE(stage.asked<action::AskRelease>().empty()) << "nobody can let go of what is on its way in";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.areas_in("alpha"), 0U);
  EXPECT_EQ(stage.run("alpha").run, 1U) << "nothing was wrong with it";
}

TEST(Growth, AFaultWhileItsMemoryIsBeingConfirmedWaitsForThatAnswer) {
  Stage stage(growing_setup());
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(wants(stage, 100_MiB));
  stage.settle();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed", ""});
  stage.settle();
  EXPECT_TRUE(stage.asked<action::AskRelease>().empty()) << "its agent would bring online what it lets go of";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.run("alpha").run, 1U);
}

TEST(Growth, AnAnswerThatNeverComesInTheMiddleEndsInAFence) {
  Stage stage(growing_setup());
  stage.up();
  stage.hold<action::Plug>();
  stage.give(wants(stage, 100_MiB));
  stage.waiting.clear();
  stage.hold_nothing();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed", ""});
  stage.pass(std::chrono::seconds(26));
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(Growth, OfAnotherTrustDomainNothingIsTaken) {
  core::Setup setup = growing_setup(5);
  setup.guests[1].trust_domain = "other";
  setup.apps.push_back(app_setup("web", {GuestId{1}}));
  setup.apps[1].desired_bytes = setup.apps[1].minimum_bytes = 60_MiB;
  Stage stage(setup);
  stage.up();
  ASSERT_EQ(stage.where("web"), "serving on beta");
  stage.give(event::AppFaulted{stage.run("beta"), stage.app("web"), 1, "killed", ""});
  stage.settle();
  ASSERT_EQ(stage.areas(AreaState::unused), 1U);
  stage.forget();
  stage.give(wants(stage, 100_MiB));
  EXPECT_TRUE(stage.asked<action::Plug>().empty()) << "there is no time to scrub";
}

}  // namespace
}  // namespace understudy::core

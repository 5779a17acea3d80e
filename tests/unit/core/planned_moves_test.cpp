// A planned move never ends a guest on which somebody else serves, unless it was asked to.
#include "core/state.hpp"
#include "stage.hpp"

#include <memory>

namespace understudy::core {
namespace {

// db and web serve on alpha.
std::unique_ptr<Stage> together(core::Setup setup = plain_setup(2, 2)) {
  auto stage = std::make_unique<Stage>(std::move(setup));
  stage->up();
  EXPECT_EQ(stage->where("db"), "serving on alpha");
  EXPECT_EQ(stage->where("web"), "serving on alpha");
  return stage;
}

// The guest lets go of one area and keeps the others.
void keeps_all_but_one(Stage& stage) {
  const auto request = stage.take_request<action::AskRelease>();
  stage.give(event::AreasReleased{
      request.run, request.app, request.epoch, {request.areas.front()}, "40 MiB of files in /tmp"});
  stage.spare_bytes = 36_MiB + 3 * 126_MiB;  // the others count there as before
}

TEST(PlannedMove, IsGivenUpWhereOthersServeAndTheApplicationIsBackWhereItWas) {
  auto held = together();
  Stage& stage = *held;
  stage.hold<action::AskRelease>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "releasing on alpha");
  stage.hold_nothing();
  keeps_all_but_one(stage);
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.where("web"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.areas_in("alpha"), 8U);
  EXPECT_EQ(stage.areas(AreaState::engaged), 8U) << "all of them confirmed again";
  ASSERT_EQ(stage.out.reports.size(), 1U);
  EXPECT_NE(stage.out.reports[0].result.find("384 MiB of the 512 MiB of db"), std::string::npos)
      << stage.out.reports[0].result;
  EXPECT_TRUE(stage.noted("switchover-given-up"));
}

TEST(PlannedMove, MayEndTheGuestWhenItWasAskedTo) {
  auto held = together();
  Stage& stage = *held;
  stage.hold<action::AskRelease>();
  stage.give(event::Switchover{stage.app("db"), {}, true});
  stage.settle();
  stage.hold_nothing();
  keeps_all_but_one(stage);
  stage.settle();
  EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.where("web"), "serving on beta");
}

TEST(PlannedMove, EndsAGuestWhereNobodyElseIs) {
  Stage stage;
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  stage.hold_nothing();
  keeps_all_but_one(stage);
  stage.settle();
  EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(PlannedMove, AnUnplannedOneEndsItWhoeverElseIsThere) {
  auto held = together();
  Stage& stage = *held;
  stage.hold<action::AskRelease>();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed", ""});
  stage.settle();
  stage.hold_nothing();
  keeps_all_but_one(stage);
  stage.settle();
  EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(PlannedMove, IsGivenUpForAnAreaThatCannotBeUnplugged) {
  auto held = together();
  Stage& stage = *held;
  stage.hold<action::Unplug>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  const auto request = stage.take_request<action::Unplug>();
  stage.give(event::UnplugFailed{request.run, request.area, "the guest did not let go"});
  EXPECT_EQ(stage.where("db"), "releasing on alpha") << "three are still on their way out";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.where("web"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.areas(AreaState::engaged), 8U);
}

TEST(PlannedMove, IsRefusedWhereTheAgentIsSilentAndOthersServe) {
  auto held = together();
  Stage& stage = *held;
  stage.pass(std::chrono::seconds(1), {"alpha"});
  ASSERT_EQ(stage.is("alpha"), "suspect");
  const State& state = stage.core.state();
  EXPECT_NE(why_no_switchover(state, state.app(stage.app("db")), false).find("--fence"), std::string::npos);
  EXPECT_EQ(why_no_switchover(state, state.app(stage.app("db")), true), "");
  stage.give(event::Switchover{stage.app("db"), {}});
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

// db does not end: its agent says so, or does not answer.
class DoesNotEnd : public ::testing::TestWithParam<bool> {
 protected:
  void order(bool may_fence = false) {
    stage().hold<action::AskStop>();
    stage().give(event::Switchover{stage().app("db"), {}, may_fence});
    const auto request = stage().take_request<action::AskStop>();
    if (GetParam()) {
      stage().give(event::StopFailed{request.run, request.app, request.epoch, "state D"});
    } else {
      stage().pass(std::chrono::minutes(1));
    }
  }
  Stage& stage() { return *held_; }
  std::unique_ptr<Stage> held_ = together();
};

TEST_P(DoesNotEnd, IsWaitedForWhereOthersServeAndSaid) {
  order();
  EXPECT_TRUE(stage().asked<action::Fence>().empty());
  EXPECT_EQ(stage().where("db"), "stopping on alpha");
  EXPECT_EQ(stage().where("web"), "serving on alpha");
  EXPECT_TRUE(stage().noted("stop-overdue"));
  stage().forget();
  stage().pass(std::chrono::minutes(2));
  EXPECT_FALSE(stage().asked<action::AskStop>().empty()) << "it is asked again";
  EXPECT_FALSE(stage().noted("stop-overdue")) << "and not said again";
  stage().hold_nothing();
  stage().settle();
  stage().pass(std::chrono::minutes(1));
  EXPECT_EQ(stage().where("db"), "serving on beta") << "it has ended at last";
  EXPECT_TRUE(stage().asked<action::Fence>().empty());
}

TEST_P(DoesNotEnd, CostsTheGuestWhenThatIsOrderedLater) {
  order();
  const State& state = stage().core.state();
  EXPECT_NE(why_no_switchover(state, state.app(stage().app("db")), false), "");
  EXPECT_EQ(why_no_switchover(state, state.app(stage().app("db")), true), "");
  stage().hold_nothing();
  stage().give(event::Switchover{stage().app("db"), {}, true});
  stage().settle();
  EXPECT_EQ(stage().asked<action::Fence>().size(), 1U);
  EXPECT_EQ(stage().where("db"), "serving on beta");
  EXPECT_EQ(stage().where("web"), "serving on beta");
}

TEST_P(DoesNotEnd, CostsTheGuestWhenThatWasAllowed) {
  order(true);
  EXPECT_EQ(stage().asked<action::Fence>().size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(PlannedMove, DoesNotEnd, ::testing::Bool(),
                         [](const auto& said) { return said.param ? "said" : "silent"; });

// db goes to beta, where queue serves, and beta cannot use the memory.
TEST(PlannedMove, ATargetThatCannotUseTheMemoryKeepsItsOthers) {
  core::Setup setup = plain_setup(2, 2);
  std::swap(setup.apps[1].guests[0], setup.apps[1].guests[1]);
  Stage stage(setup);
  stage.up();
  ASSERT_EQ(stage.where("web"), "serving on beta");
  stage.hold<action::AskEngage>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  const auto request = stage.take_request<action::AskEngage>();
  ASSERT_EQ(request.run, stage.run("beta"));
  stage.give(event::EngageFailed{request.run, request.app, request.epoch, "a block did not go online"});
  stage.hold_nothing();
  stage.settle();
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.where("web"), "serving on beta");
  EXPECT_EQ(stage.where("db"), "serving on alpha") << "back where it was";
  EXPECT_TRUE(stage.noted("engage-failed"));
}

// The same while web, beside db, gets more memory in its guest.
TEST(PlannedMove, AGuestThatCannotUseMoreMemoryKeepsItsOthers) {
  core::Setup setup = plain_setup(2, 2);
  setup.apps[1].maximum_bytes = setup.apps[1].desired_bytes + 128_MiB;
  setup.pool.area_count += 2;
  Stage stage(setup);
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("web"), stage.epoch("web"), 64_MiB});
  stage.settle();
  const auto request = stage.take_request<action::AskEngage>();
  stage.give(event::EngageFailed{request.run, request.app, request.epoch, "a block did not go online"});
  stage.hold_nothing();
  stage.settle();
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.where("web"), "serving on beta") << "alone";
  EXPECT_EQ(stage.asked<action::AskStop>().size(), 1U) << "it may be started again there any moment";
}

// Making room for a more important one is planned, too, and not tried again at once.
TEST(PlannedMove, WhoeverIsToMakeRoomAndCannotStaysAndIsNotAskedAgainAtOnce) {
  core::Setup setup = plain_setup(1, 3);
  setup.pool.area_count = 8;
  setup.apps[2].priority = 1;
  setup.apps[2].preempts = true;
  Stage stage(setup);
  stage.up();
  ASSERT_EQ(stage.where("queue"), "serving on alpha");
  ASSERT_EQ(stage.where("db"), "serving on alpha");
  ASSERT_EQ(stage.where("web"), "waiting");
  // queue ends, web takes its memory, queue is started again: somebody has to make room for it.
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("queue"), stage.epoch("queue"), "killed", ""});
  stage.settle();
  ASSERT_EQ(stage.where("queue"), "failed");
  stage.pass(std::chrono::seconds(2));  // alpha had no memory for web, and is tried again
  ASSERT_EQ(stage.where("web"), "serving on alpha");
  stage.forget();
  stage.hold<action::AskRelease>();
  stage.give(event::StartApp{stage.app("queue")});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "releasing on alpha");
  keeps_all_but_one(stage);
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.where("web"), "releasing on alpha") << "the other one that could make room is asked";
  keeps_all_but_one(stage);
  stage.settle();
  EXPECT_EQ(stage.where("web"), "serving on alpha");
  EXPECT_EQ(stage.where("queue"), "waiting");
  stage.pass(std::chrono::seconds(50));
  EXPECT_EQ(stage.asked<action::AskStop>().size(), 2U) << "not again and again";
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  stage.hold_nothing();
  stage.pass(std::chrono::seconds(15));
  EXPECT_EQ(stage.where("queue"), "serving on alpha");
}

// A rehearsal, too: its standby serves others.
TEST(PlannedMove, ARehearsalWhoseMemoryIsNotLetGoOfFencesNobodyAndGetsItBackLater) {
  core::Setup setup = plain_setup(2, 2);
  setup.pool.area_count = 12;
  Stage stage(with_rehearsals(setup));
  stage.up();
  stage.give(event::Switchover{stage.app("web"), stage.guest("beta")});
  stage.settle();
  ASSERT_EQ(stage.where("web"), "serving on beta");
  stage.forget();
  stage.hold<action::AskRelease>();
  stage.give(event::Rehearse{stage.app("db"), false});
  stage.settle();
  ASSERT_EQ(stage.areas_in("beta"), 8U);
  keeps_all_but_one(stage);
  stage.settle();
  EXPECT_TRUE(stage.noted("rehearsal-failed"));
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.areas_in("beta"), 7U);
  stage.hold_nothing();
  stage.pass(std::chrono::seconds(31));
  EXPECT_EQ(stage.areas_in("beta"), 4U);
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
}

// What a guest has kept of an application that went on without it comes back without a restart of the guest.
TEST(PlannedMove, WhatAGuestHasKeptIsAskedForAgain) {
  core::Setup setup = plain_setup(2, 2);
  setup.pool.area_count = 16;
  setup.apps[0].on_release_limit = OnReleaseLimit::take_part;
  Stage stage(setup);
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  keeps_all_but_one(stage);
  stage.spare_bytes = 36_MiB;
  stage.settle();
  ASSERT_EQ(stage.where("db"), "serving on beta");
  ASSERT_EQ(stage.areas_in("alpha"), 7U);
  stage.forget();
  stage.pass(std::chrono::seconds(31));
  ASSERT_EQ(stage.asked<action::AskRelease>().size(), 1U);
  EXPECT_EQ(why_not(stage.core.state(), stage.core.state().app(stage.app("db")),
                    stage.core.state().guest(stage.guest("alpha"))),
            "alpha is letting go of what it had kept of db");
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.areas_in("alpha"), 4U);
}

}  // namespace
}  // namespace understudy::core

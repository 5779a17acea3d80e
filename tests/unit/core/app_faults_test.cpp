#include "core/view.hpp"
#include "stage.hpp"

#include <functional>

namespace understudy::core {
namespace {

event::AppFaulted faulted(const Stage& stage, const std::string& guest, const std::string& app) {
  return {stage.run(guest), stage.app(app), stage.epoch(app), "killed by signal 11", ""};
}

TEST(AppFault, HotStandbyLeavesTheLivingOsAndMoves) {
  Stage stage;
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(faulted(stage, "alpha", "db"));
  EXPECT_EQ(stage.where("db"), "releasing on alpha");
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  EXPECT_TRUE(stage.asked<action::Unplug>().empty()) << "not before the OS has let go";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.areas_in("alpha"), 0U);
  EXPECT_EQ(stage.run("alpha").run, 1U) << "its OS went on";
}

// Found by a benchmark on a busy machine: leaving took longer than the guest was avoided, and it went back
// there.
TEST(AppFault, ItGoesToTheStandbyHoweverLongItsLeavingTakes) {
  Stage stage;
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(faulted(stage, "alpha", "db"));
  stage.pass(std::chrono::seconds(4));
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.run("alpha").run, 1U);
}

// A program that puts itself into the background went round all guests, for ever.
TEST(AppFault, WhatOnlyAnotherConfigurationHelpsIsTriedInNoOtherGuest) {
  Stage stage;
  stage.up();
  auto fault = faulted(stage, "alpha", "db");
  fault.configuration = true;
  stage.give(fault);
  stage.settle();
  EXPECT_EQ(stage.where("db"), "failed");
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
  EXPECT_TRUE(stage.noted("app-failed"));
  stage.give(event::StartApp{stage.app("db")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST(AppFault, AStartThatOnlyAnotherConfigurationHelpsIsNotTriedElsewhere) {
  Stage stage;
  stage.up();
  stage.hold<action::AskStart>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  const auto request = stage.take_request<action::AskStart>();
  stage.hold_nothing();
  stage.give(event::AppStartFailed{request.run, request.app, request.epoch, "in the background", "", true});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "failed");
}

TEST(AppFault, ARestartThatDoesNotCountSaysSo) {
  Stage stage;
  stage.up();
  stage.give(event::AppRestarting{stage.run("alpha"), stage.app("db"), 1, "the guest ran out of memory", 0});
  EXPECT_TRUE(stage.noted("app-restarting"));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST(AppFault, WithoutHotStandbyItsAreasBecomeUnused) {
  core::Setup setup = plain_setup();
  setup.apps[0].hot_standby = false;
  Stage stage(setup);
  stage.up();
  stage.give(faulted(stage, "alpha", "db"));
  stage.settle();
  EXPECT_EQ(stage.where("db"), "failed");
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
  EXPECT_TRUE(stage.noted("app-failed"));
  stage.give(event::StartApp{stage.app("db")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST(AppFault, ARestartInPlaceIsTroubleUntilItServesAgain) {
  Stage stage;
  stage.up();
  stage.give(event::AppRestarting{stage.run("alpha"), stage.app("db"), 1, "exit status 1", 1});
  EXPECT_EQ(stage.core.state().app(stage.app("db")).serving()->trouble, "exit status 1");
  stage.give(event::AppServing{stage.run("alpha"), stage.app("db"), 1, 4_MiB, {}});
  EXPECT_EQ(stage.core.state().app(stage.app("db")).serving()->trouble, "");
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

// While an application is restarted in place its clients wait, as while it moves: led on, they would be reset
// by its guest for as long as that takes.
TEST(AppFault, ARestartInPlaceLeadsNobodyThereUntilItServesAgain) {
  Stage stage;
  stage.up();
  const auto db = stage.app("db");
  stage.give(event::AppRestarting{stage.run("alpha"), db, 1, "exit status 1", 1});
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  stage.give(event::AppRestarting{stage.run("alpha"), db, 1, "exit status 1", 2});
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U) << "it leads nowhere already";
  EXPECT_TRUE(stage.asked<action::Route>().empty());
  stage.give(event::AppServing{stage.run("alpha"), db, 1, 4_MiB, {}});
  ASSERT_EQ(stage.asked<action::Route>().size(), 1U);
  EXPECT_EQ(stage.asked<action::Route>()[0].run, stage.run("alpha"));
  stage.give(event::AppServing{stage.run("alpha"), db, 1, 4_MiB, {}});
  EXPECT_EQ(stage.asked<action::Route>().size(), 1U) << "said twice";
}

TEST(AppFault, ARestartInPlaceBeforeTheAddressLedThereEndsTheTimelineLater) {
  Stage stage;
  stage.hold<action::Route>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto db = stage.app("db");
  stage.give(event::AppRestarting{stage.run("alpha"), db, 1, "exit status 1", 1});
  (void)stage.take_request<action::Route>();  // dropped by the gateway with the withdrawal
  EXPECT_FALSE(stage.noted("app-serving"));
  stage.hold_nothing();
  stage.give(event::AppServing{stage.run("alpha"), db, 1, 4_MiB, {}});
  stage.settle();
  EXPECT_TRUE(stage.noted("app-serving"));
}

// Seen with a server on the guest's loopback alone: "serving, protected", and no client was ever served.
TEST(Reach, AnApplicationThatNoClientCanBeLedToIsNotCalledServingNorProtected) {
  Stage stage;
  stage.hold<action::Route>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto request = stage.take_request<action::Route>();
  const auto word = [&] { return app_state_word(stage.core.state().app(request.app)); };
  const auto protection_now = [&] {
    return protection(stage.core.state(), stage.core.state().app(request.app));
  };
  EXPECT_EQ(word(), "starting") << "not before a client could be served";
  stage.give(event::AddressUnreachable{request.app, request.run, "nothing listens there"});
  EXPECT_EQ(word(), "unreachable");
  EXPECT_FALSE(protection_now().is_protected);
  EXPECT_EQ(protection_now().why, "no client can be led to it: nothing listens there");
  EXPECT_TRUE(stage.noted("app-unreachable"));
  EXPECT_FALSE(stage.noted("app-serving"));
  stage.forget();
  stage.give(event::AddressUnreachable{request.app, request.run, "nothing listens there"});
  EXPECT_TRUE(stage.out.notices.empty()) << "said once";
  EXPECT_EQ(stage.where("db"), "serving on alpha") << "another guest would start the same program";
  stage.give(event::AddressRouted{request.app, request.run});
  EXPECT_EQ(word(), "serving");
  EXPECT_TRUE(protection_now().is_protected);
  EXPECT_TRUE(stage.noted("app-reachable"));
  EXPECT_TRUE(stage.noted("app-serving"));
}

TEST(Reach, AnUnreachableApplicationIsTakenOverLikeAnyOther) {
  Stage stage;
  stage.up();
  stage.give(event::AddressUnreachable{stage.app("db"), stage.run("alpha"), "it turns strangers away"});
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  stage.forget();
  stage.give(event::AddressUnreachable{stage.app("db"), stage.run("alpha"), "late"});
  EXPECT_TRUE(stage.out.notices.empty());
}

TEST(AppFault, AnApplicationThatWaitsForMemoryHasNoClientsUntilItServesAgain) {
  core::Setup setup = plain_setup();
  setup.apps[0].maximum_bytes = 600_MiB;
  setup.pool.area_count = 5;
  Stage stage(setup);
  stage.up();
  const auto db = stage.app("db");
  stage.hold<action::AnswerGrowth>();
  stage.give(event::AppWantsMemory{stage.run("alpha"), db, 1, 64_MiB});
  stage.settle();
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  EXPECT_TRUE(stage.asked<action::Route>().empty());
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.asked<action::Route>().size(), 1U);
}

TEST(AppFault, ReleaseThatFailsInPartFencesTheGuest) {
  Stage stage;
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(faulted(stage, "alpha", "db"));
  const auto request = stage.take_request<action::AskRelease>();
  stage.hold_nothing();
  stage.give(
      event::AreasReleased{request.run, request.app, request.epoch, {request.areas[0]}, "pages are pinned"});
  EXPECT_EQ(stage.where("db"), "fencing on alpha");
  EXPECT_EQ(stage.areas_in("alpha"), 4U);
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(AppFault, ReleaseThatIsNeverAnsweredFencesTheGuest) {
  Stage stage;
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(faulted(stage, "alpha", "db"));
  stage.pass(std::chrono::seconds(4));
  EXPECT_EQ(stage.where("db"), "releasing on alpha");
  stage.pass(std::chrono::seconds(2));
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.run("alpha").run, 2U);
}

TEST(AppFault, UnplugThatFailsFencesTheGuest) {
  Stage stage;
  stage.up();
  stage.hold<action::Unplug>();
  stage.give(faulted(stage, "alpha", "db"));
  stage.settle();
  const auto request = stage.take_request<action::Unplug>();
  stage.waiting.clear();
  stage.hold_nothing();
  stage.give(event::UnplugFailed{request.run, request.area, "in use"});
  EXPECT_EQ(stage.is("alpha"), "fencing");
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(AppFault, StandbyAbsentItComesBackToItsOwnGuestAfterAWhile) {
  Stage stage;
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("beta"), "killed"});
  stage.settle();
  stage.give(faulted(stage, "alpha", "db"));
  stage.settle();
  EXPECT_EQ(stage.where("db"), "waiting");
  stage.pass(std::chrono::milliseconds(1100));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.epoch("db"), 2U);
}

TEST(AppFault, TakePartGoesOnWithWhatTheOsLetGoOf) {
  core::Setup setup = plain_setup();
  setup.apps[0].minimum_bytes = 250_MiB;
  setup.apps[0].on_release_limit = OnReleaseLimit::take_part;
  Stage stage(setup);
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(faulted(stage, "alpha", "db"));
  const auto request = stage.take_request<action::AskRelease>();
  stage.hold_nothing();
  stage.give(event::AreasReleased{request.run,
                                  request.app,
                                  request.epoch,
                                  {request.areas[0], request.areas[1], request.areas[2]},
                                  "pinned"});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.areas_in("beta"), 3U);
  EXPECT_EQ(stage.areas_in("alpha"), 1U) << "kept, until alpha is stopped";
  EXPECT_EQ(stage.is("alpha"), "ready");
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  EXPECT_EQ(stage.areas(AreaState::unused), 1U);
}

// Found by the simulator: what the same guest had kept was never confirmed again.
TEST(AppFault, TakePartOnTheSameGuestTakesBackWhatItKept) {
  core::Setup setup = plain_setup();
  setup.apps[0].minimum_bytes = 250_MiB;
  setup.apps[0].on_release_limit = OnReleaseLimit::take_part;
  Stage stage(setup);
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("beta"), "killed"});
  stage.settle();
  stage.hold<action::AskRelease>();
  stage.give(faulted(stage, "alpha", "db"));
  const auto request = stage.take_request<action::AskRelease>();
  stage.give(event::AreasReleased{request.run,
                                  request.app,
                                  request.epoch,
                                  {request.areas[0], request.areas[1], request.areas[2]},
                                  "pinned"});
  stage.settle();
  stage.pass(std::chrono::milliseconds(1500));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.areas(AreaState::releasing), 0U);
  EXPECT_EQ(stage.areas_in("alpha"), stage.areas(AreaState::engaged));
}

TEST(AppFault, StartThatFailsLeavesTheGuestAndTriesTheNext) {
  Stage stage;
  stage.up();
  stage.hold<action::AskStart>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  const auto request = stage.take_request<action::AskStart>();
  stage.hold_nothing();
  stage.give(event::AppStartFailed{request.run, request.app, request.epoch, "exit status 1"});
  EXPECT_EQ(stage.where("db"), "releasing on beta");
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha") << "which is back by now";
}

TEST(AppFault, StartThatHangsIsEndedBeforeItIsTriedElsewhere) {
  Stage stage;
  stage.up();
  stage.hold<action::AskStart>();
  stage.hold<action::AskStop>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  stage.pass(std::chrono::seconds(11));
  EXPECT_EQ(stage.where("db"), "starting on beta") << "its agent has the same limit, and will say why";
  stage.pass(std::chrono::seconds(2));
  EXPECT_EQ(stage.where("db"), "stopping on beta");
  EXPECT_TRUE(stage.noted("app-start-failed"));
  EXPECT_TRUE(stage.waits<action::AskStop>());
  stage.waiting.clear();
  stage.hold_nothing();
  stage.pass(std::chrono::seconds(8));
  EXPECT_EQ(stage.where("db"), "serving on alpha") << "beta did not end it in time and was fenced";
  EXPECT_EQ(stage.run("beta").run, 2U);
}

TEST(AppFault, AGuestThatStopsAnsweringInAStepIsFencedAtItsLimit) {
  struct Case {
    const char* step;
    std::function<void(Stage&)> hold;
  };
  for (const Case& c : {Case{"sizing", [](Stage& s) { s.hold<action::AskNeed>(); }},
                        Case{"attaching", [](Stage& s) { s.hold<action::Plug>(); }},
                        Case{"onlining", [](Stage& s) { s.hold<action::AskEngage>(); }}}) {
    SCOPED_TRACE(c.step);
    Stage stage(plain_setup(3));
    stage.up();
    c.hold(stage);
    stage.give(event::GuestExited{stage.run("alpha"), "killed"});
    stage.settle();
    ASSERT_EQ(stage.where("db"), std::string(c.step) + " on beta");
    stage.waiting.clear();
    stage.hold_nothing();
    stage.pass(std::chrono::seconds(22));
    EXPECT_EQ(stage.where("db").rfind("serving on", 0), 0U) << stage.where("db");
    EXPECT_EQ(stage.run("beta").run, 2U) << "it was fenced and came back";
  }
}

TEST(AppFault, MemoryThatCannotBeTakenCondemnsTheGuest) {
  Stage stage(plain_setup(3));
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  const auto request = stage.take_request<action::AskEngage>();
  stage.hold_nothing();
  stage.give(event::EngageFailed{request.run, request.app, request.epoch, "no memory for the memmap"});
  EXPECT_EQ(stage.is("beta"), "fencing") << "it is thrown away, never asked again";
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on gamma");
}

TEST(AppFault, APlugThatFailsCondemnsTheGuest) {
  Stage stage(plain_setup(3));
  stage.up();
  stage.hold<action::Plug>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  const auto request = stage.take_request<action::Plug>();
  stage.waiting.clear();
  stage.hold_nothing();
  stage.give(event::PlugFailed{request.run, request.area, "its kernel did not take it", true});
  EXPECT_EQ(stage.is("beta"), "fencing");
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on gamma");
}

// A fault that does not end is still a fault.
event::StopFailed does_not_end(const Stage& stage, const std::string& guest, const std::string& app) {
  return {stage.run(guest), stage.app(app), stage.epoch(app), "process 7 (db, state D) is still there"};
}

TEST(AppFault, AnApplicationThatDoesNotEndLeavesItsAddressAndItsGuestIsFenced) {
  Stage stage;
  stage.up();
  stage.hold<action::Fence>();
  stage.give(does_not_end(stage, "alpha", "db"));
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  EXPECT_EQ(stage.where("db"), "fencing on alpha");
  EXPECT_TRUE(stage.noted("app-faulted"));
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(AppFault, OneThatHasNotEndedYetLeavesItsAddressAtOnce) {
  Stage stage;
  stage.up();
  stage.give(
      event::AppRestarting{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "it hangs", 0, {}, true});
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  ASSERT_TRUE(stage.noted("app-restarting"));
  EXPECT_TRUE(stage.out.notices.back().text.ends_with("it hangs; it was killed, and has not ended yet"));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "it hangs", ""});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(AppFault, OneThatDoesNotEndBeforeItsFirstStartIsDoneEndsItsGuest) {
  Stage stage;
  stage.hold<action::AskStart>();
  stage.up();
  ASSERT_EQ(stage.where("db"), "starting on alpha");
  stage.give(does_not_end(stage, "alpha", "db"));
  EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(AppFault, ThatAFormerStartDoesNotEndIsNoWordAboutThisOne) {
  Stage stage;
  stage.up();
  event::StopFailed late = does_not_end(stage, "alpha", "db");
  late.epoch -= 1;
  stage.give(late);
  late = does_not_end(stage, "beta", "db");  // where it is not
  stage.give(late);
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
}

TEST(AppFault, OneThatDoesNotEndInMaintenanceServesNobodyAndItsGuestIsFencedAfterwards) {
  Stage stage;
  stage.up();
  stage.hold<action::AskStop>();
  stage.give(event::Maintenance{stage.guest("alpha"), {}, std::chrono::minutes(2)});
  stage.give(does_not_end(stage, "alpha", "db"));
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  stage.give(does_not_end(stage, "alpha", "db"));  // the answer to the request to end it
  stage.pass(std::chrono::seconds(60));
  EXPECT_EQ(stage.where("db"), "stopping on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty()) << "whoever asked for maintenance works on it";
  stage.pass(std::chrono::seconds(61));
  EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(AppFault, ARestartInPlaceThatNeverEndsIsAFault) {
  Stage stage;
  stage.up();
  stage.give(event::AppRestarting{stage.run("alpha"), stage.app("db"), 1, "exit status 1", 1,
                                  std::chrono::seconds(5)});
  stage.pass(std::chrono::seconds(44));  // the delay, its start limit of 10 s, and 30 s
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  stage.pass(std::chrono::seconds(2));
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_TRUE(stage.noted("app-faulted"));
  EXPECT_TRUE(stage.asked<action::Fence>().empty()) << "it ended when it was asked to";
}

TEST(AppFault, ARestartInPlaceThatIsOverIsWaitedForNoMore) {
  Stage stage;
  stage.up();
  stage.give(event::AppRestarting{stage.run("alpha"), stage.app("db"), 1, "exit status 1", 1, {}});
  stage.give(event::AppServing{stage.run("alpha"), stage.app("db"), 1, 4_MiB, {}});
  stage.pass(std::chrono::minutes(2));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

// Silence that the operator allows says nothing about the application either.
TEST(AppFault, ARestartInPlaceIsNotCalledOffWhileItsAgentIsSilent) {
  core::Setup setup = plain_setup();
  for (core::GuestSetup& guest : setup.guests) guest.silent_agent_limit = Duration{};
  Stage stage(setup);
  stage.up();
  stage.give(event::AppRestarting{stage.run("alpha"), stage.app("db"), 1, "exit status 1", 1, {}});
  stage.pass(std::chrono::minutes(5), {"alpha"});
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  stage.give(event::AgentBeat{stage.run("alpha"), stage.memory(stage.run("alpha"))});
  stage.give(event::AppServing{stage.run("alpha"), stage.app("db"), 1, 4_MiB, {}});
  stage.pass(std::chrono::minutes(5));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

}  // namespace
}  // namespace understudy::core

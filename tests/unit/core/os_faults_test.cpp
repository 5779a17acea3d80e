#include "core/view.hpp"
#include "stage.hpp"

namespace understudy::core {
namespace {

TEST(OsFault, PanicFencesThenMovesTheSameAreas) {
  Stage stage;
  stage.up();
  stage.hold<action::Fence>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
  EXPECT_TRUE(stage.asked<action::Plug>().empty()) << "unknown is not stopped";
  EXPECT_EQ(stage.areas_in("alpha"), 4U);

  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  ASSERT_EQ(stage.out.reports.size(), 1U);
  const TakeoverReport& report = stage.out.reports[0];
  EXPECT_EQ(report.cause, "kernel panic of alpha");
  EXPECT_EQ(report.from, stage.guest("alpha"));
  EXPECT_EQ(report.to, stage.guest("beta"));
  EXPECT_EQ(report.bytes_moved, 4 * 128_MiB);
  EXPECT_EQ(report.bytes_zeroed, 0U);
  EXPECT_EQ(stage.is("alpha"), "ready") << "back as the new standby";
  EXPECT_EQ(stage.run("alpha").run, 2U);
}

TEST(OsFault, WhatATakeoverWouldTakeIsPredictedFromWhatWasMeasured) {
  Stage stage;
  const auto predicted = [&] {
    return predicted_takeover(stage.core.state(), stage.core.state().app(stage.app("db")));
  };
  EXPECT_FALSE(predicted()) << "nothing was measured";
  stage.up();
  EXPECT_FALSE(predicted()) << "a first start is no takeover";
  stage.hold<action::Fence>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.hold_nothing();
  stage.settle();
  ASSERT_TRUE(predicted());
  EXPECT_EQ(predicted()->takeover, stage.out.reports.at(0).total())
      << "with what it took to see it and to fence";
  EXPECT_EQ(predicted()->rests_on, "1 takeover");
  stage.give(event::GuestPanicked{stage.run("beta")});
  stage.settle();
  ASSERT_EQ(stage.out.reports.size(), 2U);
  EXPECT_TRUE(predicted()->rests_on.starts_with("2 takeovers: ")) << predicted()->rests_on;
  EXPECT_TRUE(predicted()->rests_on.ends_with(" ms"));
  Measured measured;
  for (int ms = 1; ms <= 20; ++ms) measured.add(std::chrono::milliseconds(ms));
  EXPECT_EQ(measured.median(), std::chrono::milliseconds(16)) << "of the latest nine";
}

TEST(OsFault, AKilledProcessIsItsOwnProof) {
  Stage stage;
  stage.up();
  stage.give(event::GuestExited{stage.run("alpha"), "killed by signal 9"});
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.where("db"), "sizing on beta") << "in the very step";
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(OsFault, ClearingUpAndComingBackWaitForTheTakeover) {
  Stage stage;
  stage.up();
  stage.hold<action::AskStart>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "starting on beta");
  EXPECT_TRUE(stage.asked<action::Discard>().empty());
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.asked<action::Discard>().size(), 1U);
  EXPECT_EQ(stage.asked<action::Launch>().size(), 1U);
}

TEST(OsFault, AHungGuestIsFencedOnceItsKernelWasSilentLongEnough) {
  Stage stage;
  stage.up();
  stage.hold<action::Probe>();
  stage.hold<action::Fence>();
  stage.pass(std::chrono::milliseconds(600), {"alpha"});
  EXPECT_EQ(stage.is("alpha"), "suspect");
  EXPECT_EQ(stage.where("db"), "serving on alpha") << "suspicion moves nothing";
  stage.give(event::ProbeAnswer{stage.run("alpha"), false, "no answer"});
  EXPECT_EQ(stage.is("alpha"), "suspect") << "not for long enough";
  stage.pass(std::chrono::milliseconds(400), {"alpha"});
  stage.give(event::ProbeAnswer{stage.run("alpha"), false, "no answer"});
  EXPECT_EQ(stage.is("alpha"), "fencing");
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(OsFault, AKernelThatAnswersIsLeftAlone) {
  Stage stage;
  stage.up();
  stage.pass(std::chrono::seconds(5), {"alpha"});  // settle() answers the probes: the kernel lives
  EXPECT_EQ(stage.is("alpha"), "suspect");
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_TRUE(stage.noted("agent-silent"));
  stage.pass(std::chrono::milliseconds(200));
  EXPECT_EQ(stage.is("alpha"), "ready");
}

TEST(OsFault, ASilentAgentHasALimitWhenItIsSet) {
  Stage stage;
  stage.up();
  stage.pass(std::chrono::seconds(16), {"alpha"});
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(OsFault, ASilentAgentMayBeSilentForEverWhenItIsNot) {
  core::Setup setup = plain_setup();
  setup.guests[0].silent_agent_limit = Duration{};
  Stage stage(setup);
  stage.up();
  stage.pass(std::chrono::minutes(5), {"alpha"});
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST(OsFault, OneAnswerOfTheKernelBreaksTheRowOfSilence) {
  Stage stage;
  stage.up();
  stage.hold<action::Probe>();
  stage.pass(std::chrono::milliseconds(600), {"alpha"});
  stage.give(event::ProbeAnswer{stage.run("alpha"), true, ""});
  stage.pass(std::chrono::milliseconds(600), {"alpha"});
  stage.give(event::ProbeAnswer{stage.run("alpha"), false, "no answer"});
  EXPECT_EQ(stage.is("alpha"), "suspect") << "the row begins anew";
}

TEST(OsFault, ALostAgentIsLookedAtAtOnce) {
  Stage stage;
  stage.up();
  stage.give(event::AgentLost{stage.run("alpha"), "closed"});
  EXPECT_EQ(stage.asked<action::Probe>().size(), 1U);
  EXPECT_EQ(stage.is("alpha"), "suspect");
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST(OsFault, TheStandbyDyingInEachStepOfATakeoverLeadsToTheThird) {
  for (const char* step : {"sizing", "attaching", "onlining", "starting"}) {
    SCOPED_TRACE(step);
    Stage stage(plain_setup(3));
    stage.up();
    if (step == std::string("sizing")) stage.hold<action::AskNeed>();
    if (step == std::string("attaching")) stage.hold<action::Plug>();
    if (step == std::string("onlining")) stage.hold<action::AskEngage>();
    if (step == std::string("starting")) stage.hold<action::AskStart>();
    stage.give(event::GuestExited{stage.run("alpha"), "killed"});
    stage.settle();
    ASSERT_EQ(stage.where("db"), std::string(step) + " on beta");
    stage.waiting.clear();
    stage.give(event::GuestExited{stage.run("beta"), "killed"});
    ASSERT_EQ(stage.where("db"), "sizing on gamma");
    stage.hold_nothing();
    stage.settle();
    EXPECT_EQ(stage.where("db"), "serving on gamma");
    EXPECT_EQ(stage.areas_in("gamma"), 4U);
    EXPECT_EQ(stage.out.reports.back().from, stage.guest("alpha"));
  }
}

TEST(OsFault, WithNobodyLeftItWaitsForTheFirstThatComesBack) {
  Stage stage;
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("beta"), "killed"});
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "waiting");
  EXPECT_EQ(stage.areas(AreaState::held), 4U) << "its areas are kept for it";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db").rfind("serving on", 0), 0U) << stage.where("db");
}

TEST(OsFault, OneThatIsNotHotStandbyStartsAgainOnItsOwnGuest) {
  core::Setup setup = plain_setup();
  setup.apps[0].hot_standby = false;
  Stage stage(setup);
  stage.up();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.run("alpha").run, 2U);
}

TEST(OsFault, MutualTakeoverMovesOnlyWhatRanThere) {
  core::Setup setup = plain_setup(2, 2);
  setup.apps[1].guests = {GuestId{1}, GuestId{0}};
  Stage stage(setup);
  stage.up();
  EXPECT_EQ(stage.where("web"), "serving on beta");
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.where("web"), "serving on beta");
  EXPECT_EQ(stage.epoch("web"), 1U) << "it was not touched";
  EXPECT_EQ(stage.areas_in("beta"), 8U);
}

TEST(OsFault, ADrillDatesTheFault) {
  Stage stage;
  stage.up();
  stage.give(event::DrillStarted{stage.guest("alpha"), FaultKind::os_panic});
  stage.now += std::chrono::milliseconds(41);
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.out.reports.back().phases[static_cast<std::size_t>(Phase::detect)],
            std::chrono::milliseconds(42));
}

TEST(OsFault, AFenceThatIsNeverVerifiedMovesNothing) {
  Stage stage;
  stage.up();
  stage.hold<action::Fence>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.pass(std::chrono::minutes(10));
  EXPECT_EQ(stage.where("db"), "fencing on alpha");
  EXPECT_EQ(stage.areas_in("alpha"), 4U);
  EXPECT_EQ(stage.areas_in("beta"), 0U);
}

// A limit that is promised holds in every state: a start that takes minutes kept the failed guest off for
// minutes.
TEST(OsFault, TheFailedGuestComesBackAfterTenSecondsHoweverLongTheStartTakes) {
  for (const bool still_to_be_cleared_up : {true, false}) {
    core::Setup setup = plain_setup();
    setup.apps[0].start_limit = std::chrono::minutes(10);
    Stage stage(setup);
    stage.up();
    stage.hold<action::AskStart>();
    if (!still_to_be_cleared_up) stage.hold<action::AskNeed>();
    stage.give(event::GuestPanicked{stage.run("alpha")});
    stage.settle();
    if (!still_to_be_cleared_up) {
      // Cleared up before the takeover is under way: it is off when that begins.
      ASSERT_EQ(stage.where("db"), "sizing on beta");
    }
    stage.pass(std::chrono::seconds(4));
    stage.hold_nothing();
    stage.hold<action::AskStart>();
    stage.settle();
    ASSERT_EQ(stage.where("db"), "starting on beta");
    EXPECT_EQ(stage.run("alpha").run, 1U) << "it does not delay the takeover";
    stage.pass(std::chrono::seconds(7));
    EXPECT_EQ(stage.where("db"), "starting on beta");
    EXPECT_EQ(stage.run("alpha").run, 2U);
    EXPECT_EQ(stage.is("alpha"), "ready");
  }
}

// The state in which it was looked at by nobody: off, between two launches that failed.
TEST(OsFault, AGuestThatIsOffDoesNotWaitForAStartEither) {
  core::Setup setup = plain_setup(3);
  setup.apps[0].start_limit = std::chrono::minutes(10);
  Stage stage(setup);
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("gamma"), "killed"});
  stage.settle();
  const auto request = stage.take_request<action::Launch>();
  stage.give(event::LaunchFailed{request.run, "cannot allocate memory"});
  ASSERT_EQ(stage.is("gamma"), "off");
  stage.hold<action::AskStart>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "starting on beta");
  stage.pass(std::chrono::seconds(12));
  EXPECT_EQ(stage.is("gamma"), "launching");
  EXPECT_EQ(stage.is("alpha"), "launching");
}

// What was said under this kind since the last forget(), one after the other.
std::string texts_of(const Stage& stage, const std::string& kind) {
  std::string text;
  for (const Notice& notice : stage.out.notices) text += notice.kind == kind ? notice.text + "\n" : "";
  return text;
}

TEST(OsFault, TheEndOfAConsoleStandsInTheEventOfItsGuestsEnd) {
  const std::string console = "Failed to execute /init (error -8)\nKernel panic - not syncing: No init";
  const std::string shown = "; the end of its console:\n" + console + "\n";
  Stage stage;
  stage.up();
  stage.give(event::GuestPanicked{stage.run("alpha"), console});
  EXPECT_EQ(texts_of(stage, "guest-panicked"), "alpha's kernel panicked" + shown);
  EXPECT_EQ(texts_of(stage, "guest-fencing").find(console), std::string::npos) << "said once";
  stage.settle();
  for (const TakeoverReport& report : stage.out.reports)
    EXPECT_EQ(report.cause, "kernel panic of alpha") << "a guest's words are no cause";

  stage.forget();
  stage.give(event::GuestExited{stage.run("alpha"), "its OS restarted itself", console});
  EXPECT_EQ(texts_of(stage, "guest-exited"),
            "the virtual machine of alpha ended: its OS restarted itself" + shown);
  EXPECT_EQ(texts_of(stage, "guest-fenced").find(console), std::string::npos) << "said once";
  for (const Record& record : stage.out.journal) {
    const auto* guest = std::get_if<GuestRecord>(&record);
    EXPECT_TRUE(guest == nullptr || guest->why.find(console) == std::string::npos)
        << "nor are they journalled";
  }
}

TEST(OsFault, AGuestWhoseAgentNeverAnswersSaysOnItsConsoleWhy) {
  Stage stage;
  stage.hold<action::Launch>();
  stage.give(event::BringUp{});
  stage.settle();
  stage.give(event::GuestLaunched{stage.run("alpha"), ""});
  stage.hold<action::Fence>();
  stage.pass(stage.setup().guest(stage.guest("alpha")).boot_limit);
  ASSERT_EQ(stage.is("alpha"), "fencing");
  stage.give(event::GuestFenced{stage.run("alpha"), "its vCPUs are stopped", "no such module"});
  EXPECT_NE(texts_of(stage, "guest-fenced").find("; the end of its console:\nno such module"),
            std::string::npos)
      << texts_of(stage, "guest-fenced");
}

TEST(OsFault, AGuestThatIsWantedDownHasNothingToExplain) {
  Stage stage;
  stage.up();
  stage.hold<action::Fence>();
  stage.give(event::BringDown{});
  stage.settle();
  const auto fence = stage.take_request<action::Fence>();
  stage.give(event::GuestFenced{fence.run, "its vCPUs are stopped", "long ago"});
  EXPECT_NE(texts_of(stage, "guest-fenced"), "");
  EXPECT_EQ(texts_of(stage, "guest-fenced").find("long ago"), std::string::npos);
}

}  // namespace
}  // namespace understudy::core

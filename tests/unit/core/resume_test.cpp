// A daemon that was started again, over what the former one had written down by then.
#include "core/state.hpp"
#include "rows.hpp"
#include "stage.hpp"

#include <memory>
#include <utility>

namespace understudy::core {
namespace {

class ResumeTest : public ::testing::Test {
 protected:
  // A former daemon, of which everything is written down.
  Stage& former(core::Setup setup = plain_setup()) {
    former_ = std::make_unique<Stage>(std::move(setup));
    rows_.watch(*former_);
    return *former_;
  }
  // It dies, and the next one asks for the processes of its guests.
  Stage& restarted() {
    stage_ = std::make_unique<Stage>(former_->setup());
    stage_->now = former_->now;
    EXPECT_TRUE(stage_->core.restore(rows_.all()));
    stage_->hold<action::Adopt>();
    stage_->hold<action::AskState>();
    stage_->give(event::Resume{});
    return *stage_;
  }
  // The guest is found alive with all that it had, and its agent greets.
  void found(const std::string& guest) {
    const GuestRun run = stage_->run(guest);
    event::GuestAdopted adopted{run, true, {}};
    for (const Area& area : stage_->core.state().table.areas()) {
      if (area.in == run) adopted.areas.push_back({area.id, 1_GiB + area.id.value * 128_MiB});
    }
    stage_->give(adopted);
    stage_->give(event::AgentGreeted{run, stage_->memory(run)});
  }
  void states(const std::string& guest, std::vector<event::AppStated> apps) {
    stage_->give(event::AppsStated{stage_->run(guest), std::move(apps)});
  }

  Rows rows_;
  std::unique_ptr<Stage> former_;
  std::unique_ptr<Stage> stage_;
};

event::AppStated being_ended(Epoch epoch) {
  event::AppStated stated{AppId{0}, epoch, true, false, ""};
  stated.ending = true;
  return stated;
}

TEST_F(ResumeTest, WhatHasServedOnServesOn) {
  former().up();
  Stage& stage = restarted();
  found("alpha");
  states("alpha", {{AppId{0}, 1, true, false, ""}});
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Withdraw>().empty());
}

// Found by the simulator: a request to end it goes out although the journal refuses. The agent's word that it
// has ended answers nothing that the next daemon asked, and the application was believed to serve for ever.
TEST_F(ResumeTest, WhatIsBeingEndedIsNotTakenForServing) {
  former().up();
  Stage& stage = restarted();
  found("alpha");
  found("beta");
  states("alpha", {being_ended(1)});
  states("beta", {});
  EXPECT_EQ(stage.where("db"), "stopping on alpha");
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.epoch("db"), 2U);
}

TEST_F(ResumeTest, WhatIsBeingEndedIsNotStartedUnderTheSameEpoch) {
  former().hold<action::AskStart>();
  former_->up();
  ASSERT_EQ(former_->where("db"), "starting on alpha");
  Stage& stage = restarted();
  found("alpha");
  found("beta");
  states("beta", {});
  states("alpha", {being_ended(1)});
  EXPECT_EQ(stage.where("db"), "stopping on alpha");
  EXPECT_TRUE(stage.asked<action::AskStart>().empty());
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

// It served and failed while no daemon was there, between the two answers of its agent.
TEST_F(ResumeTest, AFaultThatOvertakesTheRepeatedStartFailsIt) {
  former().hold<action::AskStart>();
  former_->up();
  Stage& stage = restarted();
  stage.hold<action::AskStart>();
  stage.hold<action::AskRelease>();
  found("alpha");
  states("alpha", {{AppId{0}, 1, true, false, ""}});
  ASSERT_EQ(stage.where("db"), "starting on alpha");
  stage.give(event::AppFaulted{stage.run("alpha"), AppId{0}, 1, "killed by signal 11", ""});
  EXPECT_EQ(stage.where("db"), "releasing on alpha");
}

TEST_F(ResumeTest, WhatIsBeingRestartedInPlaceIsNotLedToBeforeItServes) {
  former().up();
  Stage& stage = restarted();
  found("alpha");
  states("alpha", {{AppId{0}, 1, true, true, ""}});
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U) << "the gateway has outlived the daemon";
  EXPECT_TRUE(stage.asked<action::Route>().empty());
  stage.give(event::AppServing{stage.run("alpha"), AppId{0}, 1, 4_MiB, {}});
  EXPECT_EQ(stage.asked<action::Route>().size(), 1U);
}

// `understudy up` after a `down` that the daemon did not survive: one application is down, its guest is not.
TEST_F(ResumeTest, BroughtUpInTheMiddleOfGoingDown) {
  former(plain_setup(2, 2)).up();
  former_->hold<action::AskStop>();
  former_->give(event::BringDown{});
  const auto stop = former_->take_request<action::AskStop>();
  former_->give(event::AppStopped{stop.run, stop.app, stop.epoch});
  ASSERT_EQ(former_->where("db"), "idle");
  ASSERT_EQ(former_->areas_in("alpha"), 8U);
  Stage& stage = restarted();
  stage.give(event::BringUp{});
  found("alpha");
  found("beta");
  states("alpha", {{AppId{1}, 1, true, false, ""}});
  states("beta", {});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.where("web"), "serving on alpha");
  EXPECT_EQ(stage.run("alpha").run, 1U) << "nothing was wrong with it";
}

// Found by the simulator: what had been on its way to another trust domain was zeroed although it went back.
TEST_F(ResumeTest, AnUnfinishedScrubIsBegunAgainOnlyForAnotherDomain) {
  core::Setup setup = plain_setup(2);
  setup.guests[1].trust_domain = "other";
  former(setup).up();
  former_->hold<action::Scrub>();
  former_->hold<action::Launch>();
  former_->give(event::GuestExited{former_->run("alpha"), "killed"});
  former_->settle();
  ASSERT_EQ(former_->areas(AreaState::scrubbing), 4U);
  Stage& stage = restarted();
  EXPECT_TRUE(stage.asked<action::Scrub>().empty());
  EXPECT_EQ(stage.areas(AreaState::held), 4U);
  stage.hold_nothing();
  stage.settle();  // no guest is there any more; alpha is back first
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Scrub>().empty());
}

// Found by the simulator: the last daemon died when an area had been unplugged and nobody had been told; of
// an application that is not on its way it stayed, held, for ever.
TEST_F(ResumeTest, WhatIsInNoGuestIsKeptOnlyByWhoIsOnHisWay) {
  former().up();
  Stage& stage = restarted();
  const GuestRun run = stage.run("alpha");
  event::GuestAdopted adopted{run, true, {}};
  for (const Area& area : stage.core.state().table.areas()) {
    if (area.in == run) adopted.areas.push_back({area.id, 1_GiB + area.id.value * 128_MiB});
  }
  adopted.areas.pop_back();
  const std::size_t unused = stage.areas(AreaState::unused);
  stage.give(adopted);
  EXPECT_EQ(stage.areas(AreaState::held), 0U);
  EXPECT_EQ(stage.areas(AreaState::unused), unused + 1);
}

// ---- there, not answering yet: judged as any guest that is not heard of ----

event::GuestAdopted not_answering(const Stage& stage, const std::string& guest) {
  return {stage.run(guest), false, {}, {}, false};
}

TEST_F(ResumeTest, AGuestWhoseMonitorAndKernelAreSilentIsFencedSoon) {
  former().up();
  Stage& stage = restarted();
  stage.dead_kernels = {"alpha"};
  stage.give(not_answering(stage, "alpha"));
  EXPECT_TRUE(stage.asked<action::Fence>().empty()) << "unknown is not stopped, nor is it a fault";
  found("beta");
  states("beta", {});
  stage.pass(std::chrono::milliseconds(700), {"alpha"});
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

// Seen: killed 3 s after the daemon's restart, and its application waited for the end of the maintenance.
TEST_F(ResumeTest, AGuestThatItsOperatorStoppedInMaintenanceIsLeftAlone) {
  former().up();
  Stage& stage = restarted();
  stage.dead_kernels = {"alpha"};
  stage.give(event::Maintenance{stage.guest("alpha"), {}, std::chrono::hours(1)});
  stage.give(not_answering(stage, "alpha"));
  found("beta");
  states("beta", {});
  stage.pass(std::chrono::minutes(5), {"alpha"});
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  stage.dead_kernels.clear();
  found("alpha");
  states("alpha", {{AppId{0}, 1, true, false, ""}});
  stage.pass(std::chrono::minutes(1));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.is("alpha"), "ready");
}

TEST_F(ResumeTest, OneThatHisMonitorCallsPausedIsLeftAloneInMaintenanceAndFencedOtherwise) {
  for (const bool maintenance : {true, false}) {
    former().up();
    Stage& stage = restarted();
    stage.dead_kernels = {"alpha"};
    if (maintenance) stage.give(event::Maintenance{stage.guest("alpha"), {}, std::chrono::hours(1)});
    event::GuestAdopted paused{stage.run("alpha"), false, {}};
    for (std::uint32_t i = 0; i < 4; ++i) paused.areas.push_back({AreaId{i}, 1_GiB + i * 128_MiB});
    stage.give(paused);
    found("beta");
    states("beta", {});
    stage.pass(std::chrono::minutes(5), {"alpha"});
    EXPECT_EQ(stage.where("db"), maintenance ? "serving on alpha" : "serving on beta");
  }
}

TEST_F(ResumeTest, AHangIsFoundAsSoonAsAnyAndNotWhenAGuestShouldHaveBooted) {
  former().up();
  Stage& stage = restarted();
  stage.dead_kernels = {"alpha"};
  event::GuestAdopted executing{stage.run("alpha"), true, {}};
  for (std::uint32_t i = 0; i < 4; ++i) executing.areas.push_back({AreaId{i}, 1_GiB + i * 128_MiB});
  stage.give(executing);
  found("beta");
  states("beta", {});
  stage.pass(std::chrono::milliseconds(1500), {"alpha"});
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST_F(ResumeTest, AGuestThatIsNotKnownYetTakesNothingAndIsFencedWhenItsMonitorStaysSilent) {
  former().up();
  Stage& stage = restarted();
  found("alpha");
  states("alpha", {{AppId{0}, 1, true, false, ""}});
  stage.give(not_answering(stage, "beta"));
  stage.give(event::AgentGreeted{stage.run("beta"), stage.memory(stage.run("beta"))});
  ASSERT_EQ(stage.is("beta"), "ready") << "its agent is heard";
  EXPECT_EQ(why_not(stage.core.state(), stage.core.state().app(stage.app("db")),
                    stage.core.state().guest(stage.guest("beta"))),
            "beta is being looked for");
  stage.pass(std::chrono::seconds(19));
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  stage.pass(std::chrono::seconds(2));
  EXPECT_EQ(stage.asked<action::Fence>().size(), 1U);
}

// A takeover waits for the end of alpha, and it is its monitor that hangs.
TEST_F(ResumeTest, WhatWasBeingFencedIsFencedAtOnce) {
  former().hold<action::Fence>();
  former_->up();
  former_->give(event::GuestPanicked{former_->run("alpha")});
  ASSERT_EQ(former_->where("db"), "fencing on alpha");
  Stage& stage = restarted();
  ASSERT_EQ(stage.asked<action::Fence>().size(), 1U);
  EXPECT_EQ(stage.asked<action::Fence>()[0].run, stage.run("alpha"));
  found("beta");
  states("beta", {});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST_F(ResumeTest, ItsAgentHasTheTimeOfTheMaintenanceToSayWhatRuns) {
  former().up();
  Stage& stage = restarted();
  stage.give(event::Maintenance{stage.guest("alpha"), {}, std::chrono::minutes(10)});
  found("alpha");
  found("beta");
  states("beta", {});
  stage.pass(std::chrono::minutes(9));
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  stage.pass(std::chrono::minutes(2));
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

// ---- a silent agent that is left alone for ever, and a move that waits for what it has to say ----

Setup patient(Setup setup) {
  for (GuestSetup& guest : setup.guests) guest.silent_agent_limit = Duration{};
  return setup;
}

TEST_F(ResumeTest, AMoveDoesNotWaitForEverForASilentAgent) {
  former(patient(plain_setup())).hold<action::AskStart>();
  former_->up();
  ASSERT_EQ(former_->where("db"), "starting on alpha");
  Stage& stage = restarted();
  event::GuestAdopted alpha{stage.run("alpha"), true, {}};
  for (std::uint32_t i = 0; i < 4; ++i) alpha.areas.push_back({AreaId{i}, 1_GiB + i * 128_MiB});
  stage.give(alpha);
  found("beta");
  states("beta", {});
  stage.pass(std::chrono::seconds(19), {"alpha"});
  EXPECT_EQ(stage.where("db"), "resuming on alpha");
  stage.pass(std::chrono::seconds(2), {"alpha"});
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST_F(ResumeTest, WhereOthersServeAMoveThatWaitsForASilentAgentSaysSoEveryMinute) {
  former(patient(plain_setup(2, 2))).up();
  former_->hold<action::AskRelease>();
  former_->give(event::AppFaulted{former_->run("alpha"), former_->app("db"), 1, "killed", ""});
  ASSERT_EQ(former_->where("db"), "releasing on alpha");
  Stage& stage = restarted();
  event::GuestAdopted alpha{stage.run("alpha"), true, {}};
  for (std::uint32_t i = 0; i < 8; ++i) alpha.areas.push_back({AreaId{i}, 1_GiB + i * 128_MiB});
  stage.give(alpha);
  found("beta");
  states("beta", {});
  stage.pass(std::chrono::minutes(3), {"alpha"});
  EXPECT_EQ(stage.where("db"), "resuming on alpha");
  EXPECT_EQ(stage.where("web"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  const auto said = std::count_if(stage.out.notices.begin(), stage.out.notices.end(),
                                  [](const Notice& notice) { return notice.kind == "takeover-waits"; });
  EXPECT_EQ(said, 3);
}

// ---- an agent that was started anew in its guest ----

class NewAgent : public ::testing::Test {
 protected:
  NewAgent() {
    stage.up();
    stage.hold<action::AskState>();
  }
  void greets() { stage.give(event::AgentGreeted{stage.run("alpha"), stage.memory(stage.run("alpha"))}); }
  Stage stage;
};

TEST_F(NewAgent, IsAskedWhatRuns) {
  greets();
  EXPECT_EQ(stage.out.state.size(), 1U);
  stage.give(event::AppsStated{stage.run("alpha"), {{AppId{0}, 1, true, false, ""}}});
  stage.pass(std::chrono::minutes(1));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST_F(NewAgent, ThatKnowsNothingOfAnApplicationIsAskedToEndItBeforeItGoesElsewhere) {
  greets();
  stage.hold<action::AskStop>();
  stage.give(event::AppsStated{stage.run("alpha"), {}});
  EXPECT_EQ(stage.where("db"), "stopping on alpha") << "its processes may be there";
  EXPECT_EQ(stage.asked<action::Withdraw>().size(), 1U);
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
}

TEST_F(NewAgent, SaysNothingAboutWhatWasStartedAfterItWasAsked) {
  stage.give(event::AppFaulted{stage.run("alpha"), AppId{0}, 1, "killed", ""});
  stage.hold<action::AskStart>();
  stage.settle();
  ASSERT_EQ(stage.where("db"), "starting on beta");
  stage.give(event::AgentGreeted{stage.run("beta"), stage.memory(stage.run("beta"))});
  stage.hold_nothing();
  stage.hold<action::AskState>();
  stage.settle();
  ASSERT_EQ(stage.where("db"), "serving on beta");
  stage.give(event::AppsStated{stage.run("beta"), {}});  // as it was when it was asked
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST_F(NewAgent, ThatDoesNotSayWhatRunsIsFenced) {
  greets();
  stage.pass(std::chrono::seconds(21));
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST_F(NewAgent, ANobodyAskedForStateChangesNothing) {
  stage.give(event::AppsStated{stage.run("alpha"), {}});
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

}  // namespace
}  // namespace understudy::core

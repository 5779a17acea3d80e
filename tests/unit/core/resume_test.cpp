// A daemon that was started again, over what the former one had written down by then.
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

}  // namespace
}  // namespace understudy::core

// A daemon that was started again under another configuration: what a guest was started with stays true of
// it.
#include "core/view.hpp"
#include "rows.hpp"
#include "stage.hpp"

#include <memory>

namespace understudy::core {
namespace {

class OutdatedTest : public ::testing::Test {
 protected:
  // Everything serves under `setup`, and the daemon dies.
  void former(const core::Setup& setup) {
    former_ = std::make_unique<Stage>(setup);
    rows_.watch(*former_);
    former_->up();
  }
  // The next one has another file, finds every guest, and is told what each was started with.
  Stage& restarted(const core::Setup& setup) {
    stage_ = std::make_unique<Stage>(setup);
    stage_->now = former_->now;
    EXPECT_TRUE(stage_->core.restore(rows_.all()));
    stage_->hold<action::Adopt>();
    stage_->hold<action::AskState>();
    stage_->give(event::Resume{});
    for (const GuestSetup& guest : setup.guests) found(guest.name);
    states();
    stage_->hold_nothing();
    stage_->waiting.clear();
    return *stage_;
  }
  void found(const std::string& name) {
    const GuestRun run = stage_->run(name);
    event::GuestAdopted adopted{run, true, {}};
    for (const Area& area : stage_->core.state().table.areas()) {
      if (area.in == run) adopted.areas.push_back({area.id, 1_GiB + area.id.value * 128_MiB});
    }
    const Definition& then = former_->setup().guest(run.guest);
    adopted.definition = then;
    if (!(then == Definition(stage_->setup().guest(run.guest)))) adopted.outdated = {{"it", "then", "now"}};
    adopted.no_port_for = no_port_for;
    stage_->give(adopted);
    stage_->give(event::AgentGreeted{run, stage_->memory(run)});
  }
  void states() {
    for (const Guest& guest : stage_->core.state().guests) {
      event::AppsStated stated{guest.current(), {}};
      for (const Application& app : stage_->core.state().apps) {
        if (app.place() == guest.current()) stated.apps.push_back({app.id, app.epoch, true, false, ""});
      }
      stage_->give(stated);
    }
  }
  [[nodiscard]] const Guest& guest(const std::string& name) const {
    return stage_->core.state().guest(stage_->guest(name));
  }

  std::vector<AppId> no_port_for;
  Rows rows_;
  std::unique_ptr<Stage> former_;
  std::unique_ptr<Stage> stage_;
};

TEST_F(OutdatedTest, ItServesOnAndIsSaidToBeOutdatedOnce) {
  former(plain_setup());
  core::Setup setup = plain_setup();
  setup.guests[0].slots = 2;  // fewer than it has plugged
  setup.guests[0].base_bytes = 256_MiB;
  Stage& stage = restarted(setup);
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(guest("alpha").outdated.size(), 1U);
  EXPECT_TRUE(guest("beta").outdated.empty());
  EXPECT_EQ(std::count_if(stage.out.notices.begin(), stage.out.notices.end(),
                          [](const Notice& n) { return n.kind == "guest-outdated"; }),
            1);
  EXPECT_EQ(stage.core.state().definition(stage.guest("alpha")).base_bytes, 128_MiB);
  // Started anew, it is what the file says.
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_TRUE(guest("alpha").outdated.empty());
  EXPECT_EQ(stage.core.state().definition(stage.guest("alpha")).slots, 2U);
}

TEST_F(OutdatedTest, TheSlotsOfTheRunCountAndNotTheFiles) {
  core::Setup then = plain_setup();
  then.guests[1].slots = 2;
  former(then);
  Stage& stage = restarted(plain_setup());  // 32 of them
  const Protection before = protection(stage.core.state(), stage.core.state().app(stage.app("db")));
  EXPECT_FALSE(before.is_protected);
  EXPECT_NE(before.why.find("too few memory slots"), std::string::npos) << before.why;
  stage.give(event::GuestExited{stage.run("beta"), "killed"});
  stage.settle();
  EXPECT_TRUE(protection(stage.core.state(), stage.core.state().app(stage.app("db"))).is_protected);
}

TEST_F(OutdatedTest, MemoryGoesToTheTrustDomainThatTheRunIsOf) {
  former(plain_setup());
  core::Setup setup = plain_setup();
  setup.guests[1].trust_domain = "other";
  Stage& stage = restarted(setup);
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_TRUE(stage.asked<action::Scrub>().empty()) << "beta's present run is of alpha's domain";
}

TEST_F(OutdatedTest, ARunThatHasBecomeOfAnotherDomainGetsZeroedMemory) {
  core::Setup then = plain_setup();
  then.guests[1].trust_domain = "other";
  former(then);
  Stage& stage = restarted(plain_setup());  // one domain for all, from beta's next start on
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.asked<action::Scrub>().size(), 4U);
}

TEST_F(OutdatedTest, AGuestWithoutThePortOfAnAddressTakesNothingOver) {
  core::Setup then = plain_setup();
  then.apps[0].has_address = false;
  former(then);
  no_port_for = {AppId{0}};
  Stage& stage = restarted(plain_setup());
  EXPECT_EQ(stage.where("db"), "serving on alpha") << "it goes on";
  EXPECT_TRUE(stage.asked<action::Route>().empty()) << "no client can be led to it";
  const Protection now = protection(stage.core.state(), stage.core.state().app(stage.app("db")));
  EXPECT_NE(now.why.find("started anew"), std::string::npos) << now.why;
  stage.give(event::GuestExited{stage.run("beta"), "killed"});
  stage.settle();
  stage.give(event::Switchover{stage.app("db"), stage.guest("beta")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.asked<action::Route>().size(), 1U);
}

}  // namespace
}  // namespace understudy::core

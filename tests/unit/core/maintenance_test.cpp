#include "core/view.hpp"
#include "stage.hpp"

namespace understudy::core {
namespace {

constexpr Duration kLong = std::chrono::minutes(10);

std::string trouble(const Stage& stage) {
  return app_trouble(stage.core.state().app(stage.app("db")));
}

Protection protection_of_db(const Stage& stage) {
  return protection(stage.core.state(), stage.core.state().app(stage.app("db")));
}

TEST(Maintenance, OfAGuestLetsItsFailureMoveNothingUntilItIsEnded) {
  Stage stage;
  stage.up();
  stage.give(event::Maintenance{stage.guest("alpha"), {}, kLong});
  EXPECT_TRUE(stage.noted("maintenance-begun"));
  stage.give(event::GuestExited{stage.run("alpha"), "killed by signal 9"});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "waiting");
  EXPECT_TRUE(stage.noted("guest-exited"));
  EXPECT_TRUE(stage.noted("takeover-waits"));
  EXPECT_NE(trouble(stage).find("`understudy maintenance alpha --end`"), std::string::npos) << trouble(stage);
  stage.pass(std::chrono::minutes(1));
  EXPECT_EQ(stage.where("db"), "waiting");
  stage.give(event::Maintenance{stage.guest("alpha"), {}, {}});
  EXPECT_TRUE(stage.noted("maintenance-ended"));
  stage.settle();
  EXPECT_NE(stage.where("db").find("serving on "), std::string::npos) << stage.where("db");
}

TEST(Maintenance, EndsByItselfAndSaysSo) {
  Stage stage;
  stage.up();
  stage.give(event::Maintenance{{}, stage.app("db"), kLong});
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  stage.pass(kLong - std::chrono::seconds(1));
  EXPECT_EQ(stage.where("db"), "waiting");
  EXPECT_FALSE(stage.noted("maintenance-expired"));
  stage.pass(std::chrono::seconds(2));
  EXPECT_TRUE(stage.noted("maintenance-expired"));
  EXPECT_FALSE(stage.noted("maintenance-ended"));
  EXPECT_NE(stage.where("db").find("serving on "), std::string::npos) << stage.where("db");
  EXPECT_FALSE(stage.core.state().app(stage.app("db")).maintenance_until);
}

TEST(Maintenance, EndingWhatIsNotInMaintenanceSaysNothing) {
  Stage stage;
  stage.up();
  stage.give(event::Maintenance{stage.guest("alpha"), stage.app("db"), {}});
  EXPECT_TRUE(stage.out.notices.empty());
}

TEST(Maintenance, IsNotProtectedMeanwhile) {
  Stage stage;
  stage.up();
  EXPECT_TRUE(protection_of_db(stage).is_protected);
  stage.give(event::Maintenance{stage.guest("alpha"), {}, kLong});
  EXPECT_FALSE(protection_of_db(stage).is_protected);
  EXPECT_NE(protection_of_db(stage).why.find("alpha is in maintenance"), std::string::npos);
  EXPECT_EQ(protection_of_db(stage).standby, stage.guest("beta"));
  stage.give(event::Maintenance{stage.guest("alpha"), {}, {}});
  EXPECT_TRUE(protection_of_db(stage).is_protected);
  stage.give(event::Maintenance{stage.guest("beta"), {}, kLong});
  EXPECT_FALSE(protection_of_db(stage).is_protected) << "hands are kept off the standby, too";
}

// A switchover off a guest in maintenance once ended the application and then left it waiting.
TEST(Maintenance, DoesNotHoldUpASwitchover) {
  for (const bool of_the_guest : {true, false}) {
    Stage stage;
    stage.up();
    if (of_the_guest) {
      stage.give(event::Maintenance{stage.guest("alpha"), {}, kLong});
    } else {
      stage.give(event::Maintenance{{}, stage.app("db"), kLong});
    }
    stage.give(event::Switchover{stage.app("db"), {}});
    stage.settle();
    EXPECT_EQ(stage.where("db"), "serving on beta");
  }
}

TEST(Maintenance, KeepsItsMemoryFromWhoIsMoreImportant) {
  core::Setup setup = plain_setup(2, 2);
  setup.pool.area_count = 4;  // enough for one of them
  setup.apps[1].priority = 1;
  setup.apps[1].preempts = true;
  setup.apps[1].hot_standby = false;
  for (const bool in_maintenance : {true, false}) {
    Stage stage(setup);
    stage.up();
    ASSERT_EQ(stage.where("web"), "serving on alpha");
    stage.give(
        event::AppFaulted{stage.run("alpha"), stage.app("web"), stage.epoch("web"), "exit status 1", ""});
    stage.settle();
    ASSERT_EQ(stage.where("web"), "failed");
    const std::string before = stage.where("db");
    ASSERT_TRUE(before.starts_with("serving on ")) << before;
    if (in_maintenance) stage.give(event::Maintenance{{}, stage.app("db"), kLong});
    stage.give(event::StartApp{stage.app("web")});
    stage.settle();
    EXPECT_EQ(stage.where("db"), in_maintenance ? before : "waiting");
    EXPECT_EQ(stage.where("web"), in_maintenance ? "waiting" : "serving on alpha");
  }
}

}  // namespace
}  // namespace understudy::core

// "Protected" means: the very next failure of this guest, with all that fails at once with it, ends with the
// application serving on its standby. Each case says what is claimed, then causes the failure and looks.
#include "core/view.hpp"
#include "stage.hpp"

namespace understudy::core {
namespace {

using namespace std::chrono_literals;

Protection of(const Stage& stage, const std::string& app) {
  return protection(stage.core.state(), stage.core.state().app(stage.app(app)));
}

std::string target(const Stage& stage, const std::string& app) {
  for (const Row& row : table_view(stage.core.state(), {}).rows) {
    if (row.user == app && row.id.starts_with("area-")) return row.takeover_target;
  }
  return "no row";
}

// Claims of alpha's applications, compared with what alpha's panic leads to.
void expect_true(Stage stage) {
  std::vector<std::pair<std::string, Protection>> claimed;
  for (const Application& app : stage.core.state().apps) {
    if (stage.core.state().is_twin(app.id) || app.serving() == nullptr) continue;
    const std::string& name = stage.core.state().name(app.id);
    if (app.serving()->on.guest == stage.guest("alpha")) claimed.emplace_back(name, of(stage, name));
  }
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.hold<action::Launch>();
  stage.settle();
  for (const auto& [name, claim] : claimed) {
    const std::string expected =
        claim.is_protected ? "serving on " + stage.setup().guest(*claim.standby).name : "not serving";
    const std::string found = stage.where(name);
    EXPECT_EQ(found.starts_with("serving") ? found : "not serving", expected) << name << ": " << claim.why;
  }
}

TEST(Protected, WithAFreeStandby) {
  Stage stage;
  stage.up();
  EXPECT_TRUE(of(stage, "db").is_protected) << of(stage, "db").why;
  EXPECT_EQ(target(stage, "db"), "beta");
  expect_true(stage);
}

TEST(Protected, NotWithTheFlapLimitUsedUp) {
  core::Setup setup = plain_setup();
  setup.apps[0].flap_takeovers = 1;
  Stage stage(setup);
  stage.up();
  EXPECT_TRUE(of(stage, "db").is_protected);
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  stage.pass(2s);
  ASSERT_EQ(stage.where("db"), "serving on beta");
  const Protection claim = of(stage, "db");
  EXPECT_FALSE(claim.is_protected);
  EXPECT_NE(claim.why.find("more than 1 takeover"), std::string::npos) << claim.why;
  EXPECT_EQ(target(stage, "db"), "unused");
  EXPECT_TRUE(stage.noted("protection-lost"));
  stage.forget();
  stage.pass(11min);
  EXPECT_TRUE(of(stage, "db").is_protected) << "the window has passed";
  EXPECT_TRUE(stage.noted("protection-back"));
}

TEST(Protected, OnlyOneOfTwoWhoseStandbyHasSlotsForOne) {
  core::Setup setup = plain_setup(2, 2);
  setup.guests[1].slots = 5;
  setup.apps[1].priority = 1;
  Stage stage(setup);
  stage.up();
  EXPECT_FALSE(of(stage, "db").is_protected);
  EXPECT_NE(of(stage, "db").why.find("slots"), std::string::npos) << of(stage, "db").why;
  EXPECT_TRUE(of(stage, "web").is_protected) << of(stage, "web").why;
  EXPECT_EQ(target(stage, "db"), "");
  EXPECT_EQ(target(stage, "web"), "beta");
  expect_true(stage);
}

TEST(Protected, OnlyOneOfTwoWhenThePoolHasTooLittleForBothOnSmallerStandbys) {
  core::Setup setup = plain_setup(3, 2);
  setup.apps[0].minimum_bytes = setup.apps[0].desired_bytes = setup.apps[0].maximum_bytes = 536_MiB;
  setup.apps[1].minimum_bytes = setup.apps[1].desired_bytes = setup.apps[1].maximum_bytes = 536_MiB;
  setup.pool.area_count = 9;
  Stage stage(setup);
  stage.spare_bytes = 100_MiB;  // alpha has base memory for part of it
  stage.up();
  stage.spare_bytes = 36_MiB;  // the others have none, and each application needs one area more
  stage.pass(1s);
  EXPECT_NE(of(stage, "db").is_protected, of(stage, "web").is_protected)
      << of(stage, "db").why << " / " << of(stage, "web").why;
  expect_true(stage);
}

TEST(Protected, NotByAStandbyInMaintenanceAndNoTakeoverGoesThere) {
  Stage stage;
  stage.up();
  stage.pass(1s);
  stage.forget();
  stage.give(event::Maintenance{stage.guest("beta"), {}, 10min});
  const Protection claim = of(stage, "db");
  EXPECT_FALSE(claim.is_protected);
  EXPECT_EQ(claim.why, "beta is in maintenance (`understudy maintenance beta --end` ends it)");
  EXPECT_TRUE(stage.noted("protection-lost"));
  expect_true(stage);
  stage.give(event::Maintenance{stage.guest("beta"), {}, {}});
  EXPECT_TRUE(of(stage, "db").is_protected);
  EXPECT_TRUE(stage.noted("protection-back"));
  expect_true(stage);
}

TEST(Protected, ATakeoverGoesPastTheStandbyInMaintenance) {
  Stage stage(plain_setup(3));
  stage.up();
  stage.give(event::Maintenance{stage.guest("beta"), {}, 10min});
  EXPECT_EQ(of(stage, "db").standby, stage.guest("gamma"));
  expect_true(stage);
}

TEST(Protected, WhoIsOrderedIntoMaintenanceByNameGoesThere) {
  Stage stage;
  stage.up();
  stage.give(event::Maintenance{stage.guest("beta"), {}, 10min});
  stage.give(event::Switchover{stage.app("db"), stage.guest("beta")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(Protected, NotWhoWouldBePreempted) {
  core::Setup setup = plain_setup(2, 2);
  setup.pool.area_count = 8;
  setup.apps[1].priority = 2;
  setup.apps[1].preempts = true;
  setup.guests[1].slots = 4;
  Stage stage(setup);
  stage.up();
  expect_true(stage);
}

TEST(Protected, NotWhileItsStandbyBoots) {
  Stage stage;
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestPanicked{stage.run("beta")});
  stage.settle();
  EXPECT_FALSE(of(stage, "db").is_protected);
  EXPECT_EQ(of(stage, "db").standby, std::nullopt) << "nothing runs there";
  expect_true(stage);
}

TEST(Protected, WhileARehearsalIsUnderWay) {
  core::Setup setup = plain_setup();
  setup.pool.area_count += 2;
  Stage stage(with_rehearsals(setup));
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(event::Rehearse{stage.app("db"), false});
  stage.settle();
  EXPECT_TRUE(of(stage, "db").is_protected) << of(stage, "db").why;
}

TEST(Protected, NobodyIsShownAsAStandbyDuringAMove) {
  Stage stage;
  stage.up();
  stage.hold<action::AskStart>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(of(stage, "db").standby, std::nullopt);
  EXPECT_EQ(target(stage, "db"), "");
}

TEST(Protected, TwoThatFallTogetherAreSizedOneAfterTheOther) {
  core::Setup setup = plain_setup(2, 2);
  setup.guests[1].slots = 5;
  Stage stage(setup);
  stage.up();
  stage.hold<action::AskNeed>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "sizing on beta");
  EXPECT_EQ(stage.where("web"), "waiting") << "they would count on the same slots";
  stage.hold_nothing();
  stage.hold<action::Launch>();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.where("web").substr(0, 7), "waiting");
  EXPECT_FALSE(stage.noted("no-memory")) << "nobody was sent to where there was no room";
}

TEST(Protected, WhoeverIsStoppedByItsOperatorHasLostNothing) {
  Stage stage;
  stage.up();
  stage.give(event::BringDown{});
  stage.settle();
  EXPECT_FALSE(stage.noted("protection-lost"));
}

}  // namespace
}  // namespace understudy::core

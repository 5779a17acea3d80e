#include "stage.hpp"

namespace understudy::core {
namespace {

Stage with_dumps() {
  Setup setup = plain_setup();
  for (GuestSetup& guest : setup.guests) guest.dump = true;
  return Stage(std::move(setup));
}

TEST(Dump, FollowsTheTakeoverAndComesBeforeTheGuestIsRebuilt) {
  Stage stage = with_dumps();
  stage.up();
  stage.hold<action::Dump>();
  stage.hold<action::AskStart>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "starting on beta");
  EXPECT_FALSE(stage.waits<action::Dump>()) << "before the takeover is done";
  stage.hold_nothing();
  stage.hold<action::Dump>();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.is("alpha"), "fenced");
  EXPECT_TRUE(stage.asked<action::Discard>().empty());
  const auto dump = stage.take_request<action::Dump>();
  stage.give(event::DumpDone{dump.run, "/dumps/alpha.vmcore", ""});
  EXPECT_TRUE(stage.noted("dump"));
  EXPECT_EQ(stage.asked<action::Discard>().size(), 1U);
  stage.settle();
  EXPECT_EQ(stage.is("alpha"), "ready");
  EXPECT_EQ(stage.run("alpha").run, 2U);
}

TEST(Dump, ThatFailsIsSaidAndHoldsNothingUp) {
  Stage stage = with_dumps();
  stage.up();
  stage.hold<action::Dump>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  const auto dump = stage.take_request<action::Dump>();
  stage.give(event::DumpDone{dump.run, "", "the disk is full"});
  EXPECT_TRUE(stage.noted("no-dump"));
  stage.settle();
  EXPECT_EQ(stage.is("alpha"), "ready");
  // A second answer, and one of a former run, change nothing.
  stage.forget();
  stage.give(event::DumpDone{dump.run, "late", ""});
  stage.give(event::DumpDone{stage.run("alpha"), "never asked", ""});
  EXPECT_TRUE(stage.out.notices.empty());
}

TEST(Dump, IsNotAskedOfAProcessThatHasEndedNorWithoutBeingWanted) {
  for (const bool wanted : {true, false}) {
    Stage stage = wanted ? with_dumps() : Stage();
    stage.up();
    stage.hold<action::Dump>();
    if (wanted) {
      stage.give(event::GuestExited{stage.run("alpha"), "killed by signal 9"});
    } else {
      stage.give(event::GuestPanicked{stage.run("alpha")});
    }
    stage.settle();
    EXPECT_FALSE(stage.waits<action::Dump>());
    EXPECT_EQ(stage.is("alpha"), "ready");
  }
}

// `down` once waited for a dump that was under way.
TEST(Dump, DoesNotHoldUpGoingDown) {
  Stage stage = with_dumps();
  stage.up();
  stage.hold<action::Dump>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  ASSERT_EQ(stage.is("alpha"), "fenced");
  stage.give(event::BringDown{});
  stage.settle();
  EXPECT_TRUE(stage.core.is_down());
}

}  // namespace
}  // namespace understudy::core

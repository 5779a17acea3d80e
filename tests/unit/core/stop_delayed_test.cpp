// A guest that cannot be stopped, or whose process does not end, is waited for without a limit: unknown is
// not stopped. So that it lasts is said.
#include "stage.hpp"

#include <gmock/gmock.h>

namespace understudy::core {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

std::vector<Notice> said(const Stage& stage) {
  std::vector<Notice> found;
  for (const Notice& notice : stage.out.notices) {
    if (notice.kind == "stop-delayed") found.push_back(notice);
  }
  return found;
}

TEST(StopDelayed, AFenceThatLastsIsSaidWithItsEvidenceAgainAndAgain) {
  Stage stage;
  stage.up();
  stage.forget();
  stage.hold<action::Fence>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.pass(seconds(4), {"alpha"});
  EXPECT_TRUE(said(stage).empty());
  stage.give(event::StopDelayed{stage.run("alpha"), "process 7: thread 8 (CPU 0/KVM) is in state D"});
  EXPECT_TRUE(said(stage).empty()) << "when it is time to";
  stage.pass(seconds(2), {"alpha"});
  ASSERT_EQ(said(stage).size(), 1U);
  EXPECT_EQ(said(stage)[0].severity, Severity::error);
  EXPECT_EQ(said(stage)[0].guest, stage.guest("alpha"));
  EXPECT_THAT(said(stage)[0].text, HasSubstr("alpha is not verified stopped"));
  EXPECT_THAT(said(stage)[0].text,
              HasSubstr("has waited for 5 s (process 7: thread 8 (CPU 0/KVM) is in state D;"));
  EXPECT_THAT(said(stage)[0].text, HasSubstr("a disk or network file system that does not answer"));
  stage.pass(seconds(120), {"alpha"});
  EXPECT_EQ(said(stage).size(), 3U);
  EXPECT_EQ(stage.areas_in("alpha"), 4U) << "unknown is not stopped, however long it lasts";
  EXPECT_TRUE(stage.asked<action::Plug>().empty());
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.is("alpha"), "ready");
}

TEST(StopDelayed, AProcessThatDoesNotEndIsSaidWhileTheTakeoverIsLongDone) {
  Stage stage;
  stage.up();
  stage.forget();
  stage.hold<action::Discard>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  stage.pass(seconds(70), {"alpha"});
  ASSERT_EQ(said(stage).size(), 2U);
  EXPECT_EQ(said(stage)[0].severity, Severity::warning);
  EXPECT_THAT(said(stage)[0].text, HasSubstr("cannot come back as a standby"));
  EXPECT_TRUE(stage.asked<action::Launch>().empty()) << "not beside its former process";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.is("alpha"), "ready");
}

TEST(StopDelayed, EvidenceOfAFormerRunSaysNothingAboutTheNext) {
  Stage stage;
  stage.up();
  const GuestRun former = stage.run("alpha");
  stage.hold<action::Fence>();
  stage.give(event::GuestPanicked{former});
  stage.give(event::StopDelayed{former, "it is stuck"});
  stage.hold_nothing();
  stage.settle();
  stage.forget();
  stage.give(event::StopDelayed{former, "it is stuck"});
  stage.hold<action::Fence>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.pass(seconds(6), {"alpha"});
  ASSERT_EQ(said(stage).size(), 1U);
  EXPECT_THAT(said(stage)[0].text, HasSubstr("nothing is known of why"));
}

TEST(StopDelayed, ALaunchThatFailedAndDoesNotEndIsSaidAtOnce) {
  Stage stage;
  stage.hold<action::Launch>();
  stage.give(event::BringUp{});
  stage.forget();
  stage.give(event::StopDelayed{stage.run("alpha"), "process 7 is stuck"});
  ASSERT_EQ(said(stage).size(), 1U);
  EXPECT_THAT(said(stage)[0].text, HasSubstr("process 7 is stuck"));
}

}  // namespace
}  // namespace understudy::core

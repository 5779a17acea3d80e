// What the host could not do: told apart from what was tried in a guest, and nobody is fenced for it.
#include "stage.hpp"

namespace understudy::core {
namespace {

std::size_t count_of(const Stage& stage, const std::string& kind) {
  return static_cast<std::size_t>(std::count_if(stage.out.notices.begin(), stage.out.notices.end(),
                                                [&](const Notice& notice) { return notice.kind == kind; }));
}

// The first of the areas that are on their way is refused by the host.
void refuse_one(Stage& stage) {
  const auto request = stage.take_request<action::Plug>();
  stage.give(event::PlugFailed{request.run, request.area, "too many open files"});
}

TEST(HostFailure, APlugThatNeverReachedTheGuestFencesNobodyAndAnotherStandbyIsTried) {
  Stage stage(plain_setup(3));
  stage.up();
  stage.hold<action::Plug>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "attaching on beta");
  refuse_one(stage);
  EXPECT_EQ(stage.where("db"), "releasing on beta") << "three are still on their way in";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on gamma");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.run("beta").run, 1U);
  EXPECT_EQ(stage.areas_in("beta"), 0U);
  EXPECT_EQ(count_of(stage, "plug-failed"), 1U);
}

// Seen: 41 fences in 40 rounds, and everything else on that guest went down with it.
TEST(HostFailure, AHostThatKeepsRefusingIsAskedEverMoreRarelyAndSaysItOnce) {
  core::Setup setup = plain_setup(2, 2);
  Stage stage(setup);
  stage.up();
  stage.give(event::Switchover{stage.app("web"), stage.guest("beta")});
  stage.settle();
  ASSERT_EQ(stage.where("web"), "serving on beta");
  stage.forget();
  stage.hold<action::Plug>();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  const Time end = stage.now + std::chrono::minutes(5);
  std::size_t refused = 0;
  while (stage.now < end) {
    stage.pass(std::chrono::milliseconds(100));
    while (stage.waits<action::Plug>()) {
      refuse_one(stage);
      ++refused;
    }
  }
  EXPECT_EQ(stage.where("web"), "serving on beta") << "nothing is wrong with beta";
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_LE(refused, 4U * 11U);
  EXPECT_GE(refused, 4U * 8U) << "it is tried again at least once a minute";
  EXPECT_EQ(count_of(stage, "plug-failed"), 1U);
  stage.hold_nothing();
  stage.hold<action::Launch>();
  stage.settle();
  stage.pass(std::chrono::seconds(61));
  EXPECT_EQ(stage.where("db"), "serving on beta") << "when the host can again";
}

TEST(HostFailure, WhyItWaitsNamesTheHostAndNotTheGuest) {
  Stage stage;
  stage.up();
  stage.hold<action::Plug>();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  while (stage.waits<action::Plug>()) refuse_one(stage);
  const auto* choosing = stage.core.state().app(stage.app("db")).in_step<move_step::Choosing>();
  ASSERT_NE(choosing, nullptr);
  EXPECT_NE(
      choosing->why_not_yet.find("the host could not plug memory into beta lately: too many open files"),
      std::string::npos)
      << choosing->why_not_yet;
}

TEST(HostFailure, AGrowthThatTheHostRefusesIsARefusal) {
  core::Setup setup = plain_setup();
  setup.apps[0].maximum_bytes = 1_GiB;
  setup.pool.area_count = 8;
  Stage stage(setup);
  stage.up();
  stage.hold<action::Plug>();
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 200_MiB});
  refuse_one(stage);
  EXPECT_TRUE(stage.asked<action::AnswerGrowth>().empty()) << "the other one may come";
  refuse_one(stage);
  ASSERT_EQ(stage.asked<action::AnswerGrowth>().size(), 1U);
  EXPECT_TRUE(stage.asked<action::AnswerGrowth>()[0].areas.empty());
  EXPECT_NE(stage.asked<action::AnswerGrowth>()[0].why_not.find("too many open files"), std::string::npos);
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
}

TEST(HostFailure, AGrowthGoesOnWithWhatTheHostCouldPlug) {
  core::Setup setup = plain_setup();
  setup.apps[0].maximum_bytes = 1_GiB;
  setup.pool.area_count = 8;
  Stage stage(setup);
  stage.up();
  stage.hold<action::Plug>();
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 200_MiB});
  refuse_one(stage);
  stage.hold_nothing();
  stage.settle();
  ASSERT_EQ(stage.asked<action::AnswerGrowth>().size(), 1U);
  EXPECT_EQ(stage.asked<action::AnswerGrowth>()[0].areas.size(), 1U);
  EXPECT_EQ(stage.areas_in("alpha"), 5U);
}

TEST(HostFailure, ARehearsalThatTheHostRefusesDoesNotPassAndFencesNobody) {
  core::Setup setup = plain_setup();
  setup.pool.area_count = 8;
  Stage stage(with_rehearsals(setup));
  stage.up();
  stage.hold<action::Plug>();
  stage.give(event::Rehearse{stage.app("db"), false});
  stage.settle();
  refuse_one(stage);
  stage.hold_nothing();
  stage.settle();
  EXPECT_TRUE(stage.noted("rehearsal-failed"));
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.areas_in("beta"), 0U);
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
}

TEST(HostFailure, AnUnplugThatTheHostRefusesIsAskedForAgain) {
  Stage stage;
  stage.up();
  stage.hold<action::Unplug>();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed", ""});
  stage.settle();
  const auto request = stage.take_request<action::Unplug>();
  stage.give(event::UnplugFailed{request.run, request.area, "too many open files", false});
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  stage.hold_nothing();
  stage.pass(std::chrono::seconds(1));
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.run("alpha").run, 1U);
}

core::Setup two_domains() {
  core::Setup setup = plain_setup();
  setup.guests[1].trust_domain = "other";
  return setup;
}

// Seen: an area that could not be zeroed was tried again 2000 times a second.
TEST(HostFailure, AnAreaThatCannotBeZeroedIsTriedAFewTimesAndThenThePlacementIsGivenUp) {
  Stage stage(two_domains());
  stage.up();
  stage.hold<action::Scrub>();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  const AreaId broken = stage.take_request<action::Scrub>().area;
  const auto fail_all = [&] {
    for (std::size_t left = stage.waiting.size(); left > 0 && stage.waits<action::Scrub>(); --left) {
      const AreaId area = stage.take_request<action::Scrub>().area;
      if (area == broken) {
        stage.give(event::ScrubFailed{area, "input/output error"});
      } else {
        stage.give(event::AreaScrubbed{area});
      }
    }
  };
  stage.give(event::ScrubFailed{broken, "input/output error"});
  const Time begin = stage.now;
  while (stage.now < begin + std::chrono::minutes(2)) {
    stage.pass(std::chrono::milliseconds(100));
    fail_all();
  }
  const auto tries = std::count_if(stage.out.scrub.begin(), stage.out.scrub.end(),
                                   [&](const action::Scrub& scrub) { return scrub.area == broken; });
  EXPECT_LE(tries, 50);
  EXPECT_TRUE(stage.asked<action::Fence>().empty()) << "nothing is wrong with beta";
  EXPECT_EQ(count_of(stage, "plug-failed"), 1U);
  EXPECT_EQ(stage.areas_in("beta"), 0U);
  stage.hold_nothing();
  stage.settle();
  stage.pass(std::chrono::minutes(2));
  EXPECT_NE(stage.where("db").find("serving"), std::string::npos);
}

// An area that a former placement had zeroed came on top of what the next one was granted.
TEST(HostFailure, WhatAFormerPlacementHadZeroedIsNotPluggedOnTopOfTheNextGrant) {
  core::Setup setup = plain_setup(3);
  setup.guests[1].trust_domain = "other";
  setup.pool.area_count = 8;
  Stage stage(setup);
  stage.up();
  stage.hold<action::Scrub>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "attaching on beta");
  ASSERT_EQ(stage.areas(AreaState::scrubbing), 4U);
  stage.hold<action::Plug>();
  stage.give(event::GuestExited{stage.run("beta"), "killed"});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "attaching on gamma") << "with the four that were unused";
  ASSERT_EQ(stage.areas_in("gamma"), 4U);
  while (stage.waits<action::Scrub>())
    stage.give(event::AreaScrubbed{stage.take_request<action::Scrub>().area});
  EXPECT_EQ(stage.areas_in("gamma"), 4U);
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on gamma");
}

// Many areas take longer to zero, one after the other, than one may take.
TEST(HostFailure, ZeroingThatGetsOnIsNotTakenForAGuestThatIsSlow) {
  Stage stage(two_domains());
  stage.up();
  stage.hold<action::Scrub>();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.settle();
  for (int i = 0; i < 4; ++i) {
    stage.pass(std::chrono::seconds(15));
    stage.give(event::AreaScrubbed{stage.take_request<action::Scrub>().area});
    stage.settle();
  }
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
}

TEST(HostFailure, ZeroingThatDoesNotGetOnGivesThePlacementUpAndFencesNobody) {
  Stage stage(two_domains());
  stage.up();
  stage.hold<action::Scrub>();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("alpha"), "killed"});
  stage.pass(std::chrono::seconds(21));
  EXPECT_EQ(stage.where("db"), "waiting");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
}

TEST(HostFailure, ALaunchThatKeepsFailingIsSaidOnce) {
  Stage stage;
  stage.hold<action::Launch>();
  stage.up();
  for (int i = 0; i < 4; ++i) {
    while (stage.waits<action::Launch>())
      stage.give(event::LaunchFailed{stage.take_request<action::Launch>().run, "cannot allocate memory"});
    stage.pass(std::chrono::seconds(60));
  }
  EXPECT_EQ(count_of(stage, "guest-launch-failed"), 2U) << "one for each guest";
}

}  // namespace
}  // namespace understudy::core

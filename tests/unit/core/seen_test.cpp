// What a guest gives away by itself, and what is found when it is looked at.
#include "stage.hpp"

#include <gmock/gmock.h>

namespace understudy::core {
namespace {

using testing::HasSubstr;

const Area& area_of(const Stage& stage, std::uint32_t number) {
  return stage.core.state().table.area({number});
}

// As the table has it: what a hypervisor says of a guest from which nobody has taken anything.
event::GuestSeen seen(const Stage& stage, const std::string& guest) {
  event::GuestSeen event{stage.run(guest), {}, std::vector<event::PluggedVcpus>{}};
  for (const Area& area : stage.core.state().table.areas()) {
    if (area.in == stage.run(guest)) event.areas.push_back({area.id, area.guest_address});
  }
  for (const auto& [app, held] : stage.core.state().guest(stage.guest(guest)).vcpus)
    event.vcpus->push_back({app, held.count});
  return event;
}

event::GuestSeen without(event::GuestSeen event, std::uint32_t number) {
  std::erase_if(event.areas, [&](const auto& plugged) { return plugged.area == AreaId{number}; });
  return event;
}

std::string text_of(const Stage& stage, const std::string& kind) {
  for (const Notice& notice : stage.out.notices) {
    if (notice.kind == kind) return notice.text;
  }
  return "nothing of the kind";
}

void eject(Stage& stage, const std::string& guest, std::uint32_t number) {
  stage.give(event::AreaUnplugged{stage.run(guest), {number}});
}

TEST(Ejected, AnAreaThatItsGuestGivesAwayIsUnusedAndTheApplicationGoesOn) {
  Stage stage;
  stage.up();
  eject(stage, "alpha", 1);
  stage.settle();
  EXPECT_EQ(area_of(stage, 1).state, AreaState::unused);
  EXPECT_EQ(stage.areas(AreaState::engaged), 3U);
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_THAT(text_of(stage, "area-lost"), HasSubstr("alpha has let go of area 1 (128 MiB) of db"));
  EXPECT_THAT(text_of(stage, "area-lost"), HasSubstr("db goes on with 384 MiB in areas"));
}

TEST(Ejected, WhoHasLessThanItWasGivenGetsItBackWhenItRunsOutOfMemory) {
  Stage stage;
  stage.up();
  eject(stage, "alpha", 1);
  stage.hold<action::AnswerGrowth>();
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 500_MiB});
  stage.settle();
  ASSERT_EQ(stage.asked<action::Plug>().size(), 1U) << "it has its maximum, in areas that it has not";
  ASSERT_EQ(stage.asked<action::AnswerGrowth>().size(), 1U);
  EXPECT_EQ(stage.asked<action::AnswerGrowth>()[0].memory_limit_bytes, 500_MiB);
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 500_MiB});
  EXPECT_EQ(stage.asked<action::Plug>().size(), 1U) << "it has its maximum";
}

TEST(Ejected, WhatIsTakenOverAfterwardsIsWhole) {
  Stage stage;
  stage.up();
  eject(stage, "alpha", 1);
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.areas_in("beta"), 4U);
}

// Started with less than its minimum it would fail in a way that nobody understands.
TEST(Ejected, AGuestThatGivesAwayWhatItIsBeingGivenIsNotStartedIn) {
  for (const bool confirming : {false, true}) {
    SCOPED_TRACE(confirming ? "while it confirms" : "while areas are on their way");
    Stage stage;
    if (confirming) {
      stage.hold<action::AskEngage>();
    } else {
      stage.hold<action::Plug>();
    }
    stage.give(event::BringUp{});
    stage.settle();
    if (!confirming) {
      const auto plug = stage.take_request<action::Plug>();
      stage.give(event::AreaPlugged{plug.run, plug.area, 1_GiB});
    }
    const std::uint32_t number = 0;
    ASSERT_EQ(area_of(stage, number).state, AreaState::plugged);
    eject(stage, "alpha", number);
    if (confirming) {
      const auto ask = stage.take_request<action::AskEngage>();
      stage.give(event::AreasEngaged{ask.run, ask.app, ask.epoch, stage.memory(ask.run)});
    }
    stage.hold_nothing();
    stage.settle();
    EXPECT_THAT(text_of(stage, "area-lost"), HasSubstr("db is not started there now"));
    EXPECT_EQ(stage.where("db"), "serving on beta");
    EXPECT_EQ(stage.areas_in("alpha"), 0U);
    EXPECT_TRUE(stage.asked<action::Fence>().empty());
  }
}

TEST(Ejected, WhoIsBeingStartedGoesOnAndGetsItBack) {
  Stage stage;
  stage.hold<action::AskStart>();
  stage.give(event::BringUp{});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "starting on alpha");
  eject(stage, "alpha", 2);
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(area_of(stage, 2).state, AreaState::unused);
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 100_MiB});
  stage.settle();
  EXPECT_EQ(stage.areas_in("alpha"), 4U);
}

TEST(Ejected, MemoryThatIsGivenAwayBeforeItIsConfirmedEndsTheGrowth) {
  core::Setup setup = plain_setup();
  setup.apps[0].maximum_bytes = 1_GiB;
  setup.pool.area_count = 8;
  Stage stage(setup);
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 100_MiB});
  stage.settle();
  eject(stage, "alpha", 4);
  ASSERT_EQ(stage.asked<action::AnswerGrowth>().size(), 1U) << "the application waits for an answer";
  EXPECT_TRUE(stage.asked<action::AnswerGrowth>()[0].areas.empty());
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
  const auto ask = stage.take_request<action::AskEngage>();
  stage.give(event::EngageFailed{ask.run, ask.app, ask.epoch, "there is no such memory"});
  EXPECT_TRUE(stage.asked<action::Fence>().empty()) << "the question was over";
}

// While the journal refuses, nothing that was decided is done yet.
TEST(Ejected, NobodyIsAskedToUnplugWhatHasLeftMeanwhile) {
  Outputs earlier;
  earlier.unplug = {{{{0}, 1}, {1}}, {{{0}, 1}, {2}}};
  Outputs later;
  later.journal.emplace_back(AreaRecord{{1}, AreaState::held, AppId{0}, std::nullopt, ""});
  later.journal.emplace_back(AreaRecord{{2}, AreaState::unplugging, AppId{0}, GuestRun{{0}, 1}, ""});
  take_back(earlier, later);
  ASSERT_EQ(earlier.unplug.size(), 1U);
  EXPECT_EQ(earlier.unplug[0].area, AreaId{2});
}

TEST(Seen, WhatIsAsTheTableSaysIsNotSpokenOf) {
  Stage stage;
  stage.up();
  for (int look = 0; look < 3; ++look) stage.give(seen(stage, "alpha"));
  EXPECT_TRUE(stage.out.notices.empty());
  EXPECT_TRUE(stage.out.unplug.empty());
}

TEST(Seen, AnAreaThatTwoLooksDoNotFindIsTakenBackBeforeItIsAnybodys) {
  Stage stage;
  stage.up();
  stage.hold<action::Unplug>();
  const auto look = without(seen(stage, "alpha"), 2);
  stage.give(look);
  EXPECT_FALSE(stage.noted("difference-found")) << "one look may come between two events";
  stage.give(look);
  EXPECT_THAT(text_of(stage, "difference-found"), HasSubstr("alpha does not have area 2 of db"));
  EXPECT_EQ(area_of(stage, 2).state, AreaState::unplugging) << "its backing may still be mapped";
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  stage.give(look);
  stage.give(look);
  EXPECT_EQ(stage.asked<action::Unplug>().size(), 1U);
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(area_of(stage, 2).state, AreaState::unused);
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
}

TEST(Seen, TwoLooksThatDifferInSomethingElseAreNoDifference) {
  Stage stage;
  stage.up();
  const auto whole = seen(stage, "alpha");
  stage.give(without(whole, 1));
  stage.give(without(whole, 2));
  stage.give(whole);
  stage.give(without(whole, 2));
  EXPECT_TRUE(stage.out.unplug.empty());
  EXPECT_FALSE(stage.noted("difference-found"));
}

TEST(Seen, WhatIsOnItsWayIsNotMissed) {
  Stage stage;
  stage.hold<action::Plug>();
  stage.give(event::BringUp{});
  stage.settle();
  event::GuestSeen nothing{stage.run("alpha"), {}, std::vector<event::PluggedVcpus>{}};
  stage.give(nothing);
  stage.give(nothing);
  EXPECT_FALSE(stage.noted("difference-found"));
  EXPECT_EQ(stage.areas(AreaState::plugging), 4U);
}

// Promise 1: what is in a guest is nobody else's.
TEST(Seen, AGuestWithAnAreaThatTheTableHasElsewhereIsFenced) {
  for (const std::uint32_t number : {1U, 99U}) {
    Stage stage;
    stage.up();
    auto look = seen(stage, "beta");
    look.areas.push_back({{number}, 1_GiB});
    stage.give(look);
    EXPECT_TRUE(stage.asked<action::Fence>().empty());
    stage.give(look);
    ASSERT_EQ(stage.asked<action::Fence>().size(), 1U);
    EXPECT_EQ(stage.asked<action::Fence>()[0].run, look.run);
    EXPECT_THAT(text_of(stage, "difference-found"), HasSubstr("beta has area " + std::to_string(number)));
    stage.settle();
    EXPECT_EQ(stage.where("db"), "serving on alpha");
  }
}

TEST(Seen, AFormerRunIsOfNoInterest) {
  Stage stage;
  stage.up();
  auto look = seen(stage, "alpha");
  look.areas.clear();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  stage.forget();
  stage.give(look);
  stage.give(look);
  EXPECT_TRUE(stage.out.notices.empty());
  EXPECT_TRUE(stage.out.unplug.empty());
}

TEST(Seen, AnAreaThatIsInNoGuestComesBackByTheSameWayForWhoeverKeptIt) {
  Stage stage;
  stage.up();
  const auto look = without(seen(stage, "alpha"), 0);
  stage.give(look);
  stage.give(look);
  const auto unplug = stage.take_request<action::Unplug>();
  stage.give(event::UnplugFailed{unplug.run, unplug.area, "object mem-0000 is in use", false});
  EXPECT_EQ(area_of(stage, 0).in, stage.run("alpha")) << "it may be mapped";
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  stage.give(look);
  stage.give(look);
  stage.settle();
  EXPECT_EQ(area_of(stage, 0).state, AreaState::unused);
}

Stage with_vcpus() {
  core::Setup setup = plain_setup();
  setup.apps[0].vcpus = 3;
  return Stage(setup);
}

TEST(Seen, AnotherNumberOfVcpusIsTheOneThatIsShown) {
  Stage stage = with_vcpus();
  stage.up();
  auto look = seen(stage, "alpha");
  look.vcpus->at(0).count = 1;
  stage.give(look);
  stage.give(look);
  EXPECT_THAT(text_of(stage, "difference-found"),
              HasSubstr("alpha has 1 vCPU of db, where the table has 3 vCPUs"));
  EXPECT_EQ(stage.core.state().guest(stage.guest("alpha")).vcpus.at(stage.app("db")).count, 1U);
  ASSERT_EQ(stage.asked<action::PlugVcpus>().size(), 1U);
  EXPECT_EQ(stage.asked<action::PlugVcpus>()[0].count, 3U);
}

TEST(Seen, VcpusThatTheTableDoesNotKnowAreTakenOut) {
  Stage stage = with_vcpus();
  stage.up();
  auto look = seen(stage, "beta");
  look.vcpus->push_back({stage.app("db"), 2});
  stage.give(look);
  stage.give(look);
  ASSERT_EQ(stage.asked<action::UnplugVcpus>().size(), 1U);
  EXPECT_EQ(stage.asked<action::UnplugVcpus>()[0].run, stage.run("beta"));
}

TEST(Seen, WhereVcpusCouldNotBeCountedNoneAreMissed) {
  Stage stage = with_vcpus();
  stage.up();
  auto look = seen(stage, "alpha");
  look.vcpus.reset();
  stage.give(look);
  stage.give(look);
  EXPECT_FALSE(stage.noted("difference-found"));
}

TEST(Ejected, VcpusComeBackButNotAsOftenAsTheirGuestThrowsThemOut) {
  Stage stage = with_vcpus();
  stage.up();
  stage.give(event::VcpusUnplugged{stage.run("alpha"), stage.app("db"), 2, ""});
  EXPECT_THAT(text_of(stage, "vcpus-missing"), HasSubstr("without being asked"));
  stage.settle();
  EXPECT_EQ(stage.asked<action::PlugVcpus>().size(), 1U);
  for (int again = 0; again < 5; ++again) {
    stage.give(event::VcpusUnplugged{stage.run("alpha"), stage.app("db"), 1, ""});
    stage.settle();
  }
  EXPECT_EQ(stage.asked<action::PlugVcpus>().size(), 1U);
  stage.pass(std::chrono::seconds(11));
  EXPECT_EQ(stage.asked<action::PlugVcpus>().size(), 2U);
}

TEST(Seen, WhatNobodyExpectsOfAGuestIsSaid) {
  Stage stage;
  stage.up();
  auto look = seen(stage, "beta");
  look.unexpected = "DEVICE_DELETED (net0)";
  stage.give(look);
  EXPECT_THAT(text_of(stage, "qemu-event"), HasSubstr("DEVICE_DELETED (net0)"));
}

}  // namespace
}  // namespace understudy::core

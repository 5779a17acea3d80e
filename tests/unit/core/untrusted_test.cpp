// Late, repeated and untrue words.
#include "core/limits.hpp"
#include "stage.hpp"

namespace understudy::core {
namespace {

// Everything that a guest's agent can say about an application.
std::vector<Event> words(GuestRun run, AppId app, Epoch epoch) {
  const std::vector<AreaId> areas = {AreaId{0}, AreaId{1}, AreaId{2}, AreaId{3}, AreaId{99}};
  return {event::NeedStated{run, app, epoch, ~0ULL},
          event::AreasEngaged{run, app, epoch, {1_GiB, 1_GiB}},
          event::EngageFailed{run, app, epoch, "why"},
          event::AppServing{run, app, epoch, 1_GiB, areas},
          event::AppStartFailed{run, app, epoch, "why"},
          event::AppRestarting{run, app, epoch, "cause", 1},
          event::AppWantsMemory{run, app, epoch, ~0ULL},
          event::AppFaulted{run, app, epoch, "cause", "evidence"},
          event::AppStopped{run, app, epoch},
          event::StopFailed{run, app, epoch, "why"},
          event::AreasReleased{run, app, epoch, areas, ""},
          event::AreasReleased{run, app, epoch, {}, "why"}};
}

// Everything that a hypervisor can say about a run.
std::vector<Event> news(GuestRun run) {
  return {event::GuestLaunched{run},
          event::LaunchFailed{run, "why"},
          event::GuestPanicked{run},
          event::GuestExited{run, "how"},
          event::GuestFenced{run, "how"},
          event::GuestAdopted{run, true, {{AreaId{0}, 0}}},
          event::DumpDone{run, "file", ""},
          event::GuestGone{run},
          event::ProbeAnswer{run, false, "silence"},
          event::AreaPlugged{run, AreaId{0}, 0},
          event::PlugFailed{run, AreaId{0}, "why"},
          event::AreaUnplugged{run, AreaId{0}},
          event::UnplugFailed{run, AreaId{0}, "why"},
          event::AgentGreeted{run, {}},
          event::AgentBeat{run, {}},
          event::AgentLost{run, "why"},
          event::AgentMisbehaved{run, "what"},
          event::AppsStated{run, {{AppId{0}, 1, true, false, ""}}}};
}

void expect_no_effect(Stage& stage, const Event& event) {
  stage.forget();
  stage.waiting.clear();
  stage.give(event);
  EXPECT_TRUE(stage.out.journal.empty()) << "event " << event.index();
  EXPECT_TRUE(stage.waiting.empty()) << "event " << event.index();
  EXPECT_TRUE(stage.out.withdraw.empty()) << "event " << event.index();
}

TEST(Stale, WordsOfAFormerRunChangeNothing) {
  Stage stage;
  stage.up();
  const GuestRun former = stage.run("alpha");
  stage.give(event::GuestExited{former, "killed"});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "serving on beta");
  for (const Event& event : words(former, stage.app("db"), stage.epoch("db"))) expect_no_effect(stage, event);
  for (const Event& event : news(former)) expect_no_effect(stage, event);
  EXPECT_EQ(stage.where("db"), "serving on beta");
}

TEST(Stale, WordsAboutAFormerStartChangeNothing) {
  Stage stage;
  stage.up();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "serving on alpha");
  ASSERT_EQ(stage.epoch("db"), 3U);
  for (const Epoch epoch : {0ULL, 1ULL, 2ULL, 4ULL}) {
    for (const Event& event : words(stage.run("alpha"), stage.app("db"), epoch))
      expect_no_effect(stage, event);
  }
}

TEST(Stale, WordsOfAGuestThatDoesNotHaveItChangeNothing) {
  Stage stage;
  stage.up();
  for (const Event& event : words(stage.run("beta"), stage.app("db"), stage.epoch("db"))) {
    expect_no_effect(stage, event);
  }
}

TEST(Stale, AnswersToWhatWasNotAskedChangeNothing) {
  const std::vector<std::size_t> meaningful = {
      Event(event::AppServing{}).index(), Event(event::AppRestarting{}).index(),
      Event(event::AppWantsMemory{}).index(), Event(event::AppFaulted{}).index(),
      Event(event::StopFailed{}).index()};
  Stage stage;
  stage.up();
  for (const Event& event : words(stage.run("alpha"), stage.app("db"), stage.epoch("db"))) {
    if (std::count(meaningful.begin(), meaningful.end(), event.index()) > 0) continue;
    expect_no_effect(stage, event);
  }
}

TEST(Stale, ARepeatedAnswerIsOneAnswer) {
  Stage stage;
  stage.hold<action::AskStart>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto request = stage.take_request<action::AskStart>();
  stage.give(event::AppServing{request.run, request.app, request.epoch, 0, {}});
  ASSERT_EQ(stage.where("db"), "serving on alpha");
  expect_no_effect(stage, event::AppServing{request.run, request.app, request.epoch, 0, {}});
  expect_no_effect(stage, event::AreasEngaged{request.run, request.app, request.epoch, {}});
  expect_no_effect(stage, event::NeedStated{request.run, request.app, request.epoch, 1_GiB});
}

TEST(Untrusted, AStatedNeedIsBoundedByWhatTheApplicationIsEntitledTo) {
  core::Setup setup = plain_setup();
  setup.pool.area_count = 100;
  setup.guests[0].slots = 100;
  Stage stage(setup);
  stage.hold<action::AskNeed>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto request = stage.take_request<action::AskNeed>();
  stage.give(event::NeedStated{request.run, request.app, request.epoch, ~0ULL});
  EXPECT_EQ(stage.asked<action::Plug>().size(), 4U);
}

TEST(Untrusted, AConfirmationWithoutTheMemoryCondemnsTheGuest) {
  Stage stage;
  stage.hold<action::AskEngage>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto request = stage.take_request<action::AskEngage>();
  stage.give(event::AreasEngaged{request.run, request.app, request.epoch, {128_MiB, 30_MiB}});
  EXPECT_TRUE(stage.asked<action::AskStart>().empty());
  EXPECT_EQ(stage.is("alpha"), "fencing");
}

TEST(Untrusted, AreasOfOthersAreNotReleasedByItsWord) {
  Stage stage(plain_setup(2, 2));
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), 1, "killed", ""});
  const auto request = stage.take_request<action::AskRelease>();
  std::vector<AreaId> all;
  for (std::uint32_t i = 0; i < 20; ++i) all.push_back(AreaId{i});
  stage.give(event::AreasReleased{request.run, request.app, request.epoch, all, ""});
  EXPECT_EQ(stage.asked<action::Unplug>().size(), 4U);
  stage.settle();
  EXPECT_EQ(stage.where("web"), "serving on alpha");
}

TEST(Untrusted, AnAgentThatMisbehavesAgainAndAgainIsFenced) {
  Stage stage;
  stage.up();
  const GuestRun run = stage.run("alpha");
  const auto misbehaves = [&](std::size_t times, Duration each) {
    for (std::size_t i = 0; i < times; ++i) {
      stage.pass(each);
      stage.give(event::AgentMisbehaved{run, "what"});
    }
    return stage.noted("guest-fencing");
  };
  EXPECT_FALSE(misbehaves(3 * kMostMisdeeds, kMisdeedWindow / (kMostMisdeeds - 2))) << "rarely enough";
  stage.pass(2 * kMisdeedWindow);
  EXPECT_FALSE(misbehaves(kMostMisdeeds - 1, std::chrono::seconds(1)));
  EXPECT_TRUE(misbehaves(1, std::chrono::seconds(1)));
}

TEST(Untrusted, AreasThatItClaimsToUseAreNotBelieved) {
  Stage stage;
  stage.hold<action::AskStart>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto request = stage.take_request<action::AskStart>();
  stage.give(event::AppServing{request.run, request.app, request.epoch, ~0ULL, {AreaId{77}}});
  EXPECT_TRUE(stage.noted("agent-misbehaved"));
  EXPECT_LE(stage.core.state().app(stage.app("db")).serving()->base_use_bytes, 128_MiB);
}

}  // namespace
}  // namespace understudy::core

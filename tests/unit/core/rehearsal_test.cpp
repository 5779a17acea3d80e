// Rehearsals of a takeover: what they prove, and that they are in nobody's way.
#include "core/view.hpp"
#include "stage.hpp"

#include <vector>

namespace understudy::core {
namespace {

const std::string kTwin = "db (rehearsal)";

// db serves on alpha with areas 0-3, beta stands by, `unused` areas are nobody's.
Setup rehearsed_setup(std::uint32_t unused = 4, std::size_t guests = 2, std::size_t apps = 1) {
  core::Setup setup = plain_setup(guests, apps);
  setup.pool.area_count += unused;
  return with_rehearsals(setup);
}

std::string refusal(const Stage& stage, const std::string& app, bool start) {
  return why_no_rehearsal(stage.core.state(), stage.core.state().app(stage.app(app)), start);
}

const std::optional<Proof>& proof(const Stage& stage) {
  return stage.core.state().app(stage.app("db")).proof;
}

const Rehearsal& last(const Stage& stage) {
  return *stage.core.state().app(stage.app("db")).rehearsal;
}

void rehearse(Stage& stage, bool start) {
  stage.give(event::Rehearse{stage.app("db"), start});
}

// A rehearsal that has come as far as a request of this kind, which waits.
template <class Action>
void rehearse_until(Stage& stage, bool start) {
  stage.hold<Action>();
  rehearse(stage, start);
  stage.settle();
}

void expect_nothing_left(const Stage& stage) {
  EXPECT_EQ(stage.where(kTwin), "idle");
  for (const Area& area : stage.core.state().table.areas()) EXPECT_NE(area.user, stage.app(kTwin));
}

TEST(Rehearsal, ATwinForEveryHotStandbyJobBehindAllApplications) {
  core::Setup setup = plain_setup(2, 3);
  setup.apps[1].hot_standby = false;
  const core::Setup with = with_rehearsals(setup);
  ASSERT_EQ(with.apps.size(), 5U);
  EXPECT_EQ(with.apps[3].name, "db (rehearsal)");
  EXPECT_EQ(twin_of(with, AppId{0}), AppId{3});
  EXPECT_FALSE(twin_of(with, AppId{1}));
  EXPECT_EQ(twin_of(with, AppId{2}), AppId{4});
  EXPECT_FALSE(with.apps[4].has_address);
}

TEST(Rehearsal, AttachesUnusedAreasToTheStandbyAndTakesThemBack) {
  Stage stage(rehearsed_setup());
  stage.up();
  rehearse_until<action::AskRelease>(stage, false);
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.where(kTwin), "releasing on beta");
  EXPECT_EQ(stage.areas_in("beta"), 4U);
  EXPECT_EQ(stage.areas_in("alpha"), 4U);
  EXPECT_TRUE(stage.asked<action::AskStart>().empty());
  stage.hold_nothing();
  stage.settle();
  expect_nothing_left(stage);
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
  EXPECT_TRUE(last(stage).passed()) << last(stage).failed;
  EXPECT_EQ(last(stage).bytes, 512_MiB);
  EXPECT_TRUE(stage.noted("rehearsal-began"));
  EXPECT_TRUE(stage.noted("rehearsal-passed"));
  ASSERT_TRUE(proof(stage));
  EXPECT_FALSE(proof(stage)->start);
  EXPECT_EQ(proof(stage)->on, stage.guest("beta"));
  EXPECT_TRUE(stage.asked<action::Withdraw>().empty());
  EXPECT_TRUE(stage.asked<action::Route>().empty());
}

TEST(Rehearsal, WithItsStartEndsTheTwinWhenItIsHealthy) {
  Stage stage(rehearsed_setup());
  stage.up();
  rehearse_until<action::AskStop>(stage, true);
  EXPECT_EQ(stage.asked<action::AskStart>().size(), 1U);
  EXPECT_EQ(stage.where(kTwin), "stopping on beta");
  EXPECT_FALSE(proof(stage));
  stage.hold_nothing();
  stage.settle();
  expect_nothing_left(stage);
  ASSERT_TRUE(proof(stage));
  EXPECT_TRUE(proof(stage)->start);
  EXPECT_TRUE(stage.asked<action::Route>().empty());
  EXPECT_TRUE(stage.out.reports.empty());
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

// Nothing else of the first takeover is known before it; a first start, on a guest with cold caches, is no
// measure.
TEST(Rehearsal, WithItsStartPredictsTheNextTakeover) {
  // The same world in the rehearsal and in the takeover: an area takes 10 ms to plug, a start 300 ms.
  const auto go = [](Stage& stage) {
    for (int i = 0; i < 8; ++i) {
      if (!stage.waits<action::Plug>()) break;
      stage.now += std::chrono::milliseconds(9);
      const auto plug = stage.take_request<action::Plug>();
      stage.give(event::AreaPlugged{plug.run, plug.area, 1_GiB + plug.area.value * 128_MiB});
    }
    stage.settle();
    stage.now += std::chrono::milliseconds(299);
    const auto ask = stage.take_request<action::AskStart>();
    stage.give(event::AppServing{ask.run, ask.app, ask.epoch, 4_MiB, ask.areas});
    stage.settle();
  };
  core::Setup setup = rehearsed_setup(2);  // half of its memory
  setup.apps[0].minimum_bytes = setup.apps[1].minimum_bytes = 200_MiB;
  for (GuestSetup& guest : setup.guests) guest.heartbeat_limit = std::chrono::seconds(30);
  Stage stage(setup);
  stage.up();
  const auto predicted = [&] {
    return predicted_takeover(stage.core.state(), stage.core.state().app(stage.app("db")));
  };
  EXPECT_FALSE(predicted());
  stage.hold<action::Plug>();
  stage.hold<action::AskStart>();
  rehearse(stage, true);
  stage.settle();
  go(stage);
  ASSERT_TRUE(predicted());
  EXPECT_EQ(predicted()->rests_on, "a rehearsal");
  const double said_ms = to_ms(predicted()->takeover);
  stage.forget();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  go(stage);
  const double took_ms = to_ms(stage.out.reports.at(0).total());
  EXPECT_NEAR(said_ms, took_ms, took_ms / 4);
  EXPECT_EQ(predicted()->rests_on, "1 takeover");
}

TEST(Rehearsal, GoesWhereATakeoverWouldGo) {
  Stage stage(rehearsed_setup(4, 3));
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestExited{stage.run("beta"), "killed by signal 9"});
  stage.settle();
  stage.hold<action::AskNeed>();
  rehearse(stage, false);
  EXPECT_EQ(stage.where(kTwin), "sizing on gamma");
}

TEST(Rehearsal, WithFewerAreasThanTheMinimumAttachesThemAndIsNotStarted) {
  Stage stage(rehearsed_setup(2));
  stage.up();
  EXPECT_NE(refusal(stage, "db", true).find("raise memory of [pool] by 256 MiB"), std::string::npos)
      << refusal(stage, "db", true);
  rehearse(stage, true);
  EXPECT_FALSE(stage.noted("rehearsal-began"));
  EXPECT_EQ(refusal(stage, "db", false), "");
  rehearse(stage, false);
  stage.settle();
  EXPECT_TRUE(last(stage).passed());
  EXPECT_EQ(last(stage).bytes, 256_MiB);
}

TEST(Rehearsal, IsRefusedWithTheReason) {
  Stage stage(rehearsed_setup(0));
  EXPECT_NE(refusal(stage, "db", false).find("it is stopped"), std::string::npos);
  stage.up();
  EXPECT_NE(refusal(stage, "db", false).find("raise memory of [pool] by 128 MiB, or by 512 MiB"),
            std::string::npos)
      << refusal(stage, "db", false);

  Stage spare(rehearsed_setup(4, 2, 2));
  spare.up();
  EXPECT_NE(refusal(spare, kTwin, false).find("not a hot standby job"), std::string::npos);
  spare.hold<action::AskNeed>();
  rehearse(spare, false);
  EXPECT_NE(refusal(spare, "web", false).find("rehearsal under way, of db"), std::string::npos);
  spare.hold_nothing();
  spare.settle();
  spare.give(event::Maintenance{spare.guest("beta"), {}, std::chrono::minutes(1)});
  EXPECT_NE(refusal(spare, "db", false).find("beta is in maintenance"), std::string::npos);
  spare.give(event::Maintenance{spare.guest("beta"), {}, {}});
  spare.hold<action::Launch>();
  spare.give(event::GuestExited{spare.run("beta"), "killed by signal 9"});
  spare.settle();
  EXPECT_NE(refusal(spare, "db", false).find("not protected"), std::string::npos);
}

TEST(Rehearsal, KeepsNobodyUnprotectedWhileItIsUnderWay) {
  Stage stage(rehearsed_setup());
  stage.up();
  stage.spare_bytes = 30_MiB;  // what the twin uses is not what beta is short of
  rehearse_until<action::AskStop>(stage, true);
  stage.give(event::AgentBeat{stage.run("beta"), {640_MiB, 10_MiB}});
  const Protection now = protection(stage.core.state(), stage.core.state().app(stage.app("db")));
  EXPECT_TRUE(now.is_protected) << now.why;
  EXPECT_EQ(now.standby, stage.guest("beta"));
}

// The point of it all: whoever needs the standby has it as soon as nothing of the rehearsal runs.
TEST(Rehearsal, IsEndedByATakeoverWhichGetsWhatItHadAttached) {
  Stage stage(rehearsed_setup());
  stage.up();
  rehearse_until<action::AskStart>(stage, true);
  ASSERT_EQ(stage.where(kTwin), "starting on beta");
  stage.hold<action::AskStop>();
  stage.hold<action::Launch>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  EXPECT_EQ(stage.asked<action::AskStop>().size(), 1U) << "the twin ends while alpha is being fenced";
  stage.settle();
  EXPECT_EQ(stage.where("db"), "waiting") << "not while the twin may run";
  EXPECT_EQ(stage.where(kTwin), "stopping on beta");
  stage.hold_nothing();
  stage.waiting.erase(
      std::remove_if(stage.waiting.begin(), stage.waiting.end(),
                     [](const Request& r) { return std::holds_alternative<action::AskStart>(r); }),
      stage.waiting.end());
  stage.forget();
  const auto stop = stage.take_request<action::AskStop>();
  stage.give(event::AppStopped{stop.run, stop.app, stop.epoch});
  EXPECT_EQ(stage.where("db"), "sizing on beta");
  EXPECT_EQ(stage.areas_in("beta"), 4U) << "attached already";
  expect_nothing_left(stage);
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(stage.areas(AreaState::engaged), 4U) << "no more than it is entitled to";
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_FALSE(last(stage).passed());
  EXPECT_FALSE(proof(stage));
}

// Who waits for the end of one takes another guest that comes first.
TEST(Rehearsal, ThatDoesNotEndIsNotWaitedForWhereThereIsAnotherGuest) {
  Stage stage(rehearsed_setup(4, 3));
  stage.up();
  rehearse_until<action::AskStart>(stage, true);
  stage.hold<action::AskStop>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  EXPECT_EQ(stage.where(kTwin), "stopping on beta");
  EXPECT_EQ(stage.core.state().app(stage.app("db")).place(), stage.run("gamma"));
}

TEST(Rehearsal, IsNoHindranceInAnyOfItsSteps) {
  const std::vector<std::function<void(Stage&)>> holds = {
      [](Stage& s) { s.hold<action::AskNeed>(); },   [](Stage& s) { s.hold<action::Plug>(); },
      [](Stage& s) { s.hold<action::AskEngage>(); }, [](Stage& s) { s.hold<action::AskStart>(); },
      [](Stage& s) { s.hold<action::AskStop>(); },   [](Stage& s) { s.hold<action::AskRelease>(); },
      [](Stage& s) { s.hold<action::Unplug>(); }};
  const std::vector<std::function<void(Stage&)>> needs = {
      [](Stage& s) { s.give(event::GuestPanicked{s.run("alpha")}); },
      [](Stage& s) {
        s.give(event::AppFaulted{s.run("alpha"), s.app("db"), s.epoch("db"), "killed by signal 11", ""});
      },
      [](Stage& s) {
        s.give(event::Switchover{s.app("db"), {}});
      },
      [](Stage& s) {
        s.give(event::GuestExited{s.run("beta"), "killed by signal 9"});
      },
      [](Stage& s) {
        s.give(event::AppWantsMemory{s.run("alpha"), s.app("db"), s.epoch("db"), 128_MiB});
      },
      [](Stage& s) {
        s.give(event::Maintenance{s.guest("alpha"), {}, std::chrono::seconds(1)});
      }};
  for (std::size_t hold = 0; hold < holds.size(); ++hold) {
    for (std::size_t need = 0; need < needs.size(); ++need) {
      SCOPED_TRACE(std::to_string(hold) + " " + std::to_string(need));
      core::Setup setup = rehearsed_setup();
      setup.apps[0].maximum_bytes = 1_GiB;
      Stage stage(setup);
      stage.up();
      holds[hold](stage);
      rehearse(stage, true);
      stage.settle();
      needs[need](stage);
      stage.hold_nothing();
      stage.settle();
      stage.pass(std::chrono::seconds(2));
      expect_nothing_left(stage);
      const bool leaves = need < 3;
      EXPECT_EQ(stage.where("db"), leaves ? "serving on beta" : "serving on alpha");
      EXPECT_FALSE(stage.noted("no-memory"));
      EXPECT_FALSE(stage.noted("no-more-memory"));
      EXPECT_EQ(stage.run("alpha").run, need == 0 ? 2U : 1U);
      EXPECT_EQ(stage.run("beta").run, need == 3 ? 2U : 1U);
      EXPECT_EQ(stage.areas(AreaState::engaged) + stage.areas(AreaState::unused), 8U);
      EXPECT_EQ(stage.areas(AreaState::engaged), need == 4 ? 6U : 4U);
    }
  }
}

TEST(Rehearsal, LetsOthersOnTheSameGuestEndPolitelyWhenAllGoesDown) {
  core::Setup setup = plain_setup(2, 2);
  std::reverse(setup.apps[1].guests.begin(), setup.apps[1].guests.end());
  setup.pool.area_count += 4;
  Stage stage(with_rehearsals(setup));
  stage.up();
  ASSERT_EQ(stage.where("web"), "serving on beta");
  rehearse_until<action::AskStart>(stage, true);
  stage.forget();
  stage.give(event::BringDown{});
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_EQ(stage.asked<action::AskStop>().size(), 3U);
  stage.hold_nothing();
  stage.settle();
  EXPECT_TRUE(stage.core.is_down());
  EXPECT_EQ(stage.areas(AreaState::unused), 12U);
}

TEST(Rehearsal, ThatFailsInTheGuestCostsTheStandbyAndSaysWhy) {
  Stage stage(rehearsed_setup());
  stage.up();
  rehearse_until<action::AskEngage>(stage, false);
  const auto ask = stage.take_request<action::AskEngage>();
  stage.give(event::EngageFailed{ask.run, ask.app, ask.epoch, "a block did not go online"});
  EXPECT_EQ(stage.is("beta"), "fencing");
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.run("beta").run, 2U);
  EXPECT_FALSE(last(stage).passed());
  EXPECT_NE(last(stage).failed.find("a block did not go online"), std::string::npos);
  EXPECT_TRUE(stage.noted("rehearsal-failed"));
  expect_nothing_left(stage);
  EXPECT_EQ(stage.where("db"), "serving on alpha");
}

TEST(Rehearsal, OfAnApplicationThatCannotBeStartedThereSaysWhy) {
  Stage stage(rehearsed_setup());
  stage.up();
  rehearse_until<action::AskStart>(stage, true);
  const auto ask = stage.take_request<action::AskStart>();
  stage.give(event::AppStartFailed{ask.run, ask.app, ask.epoch, "exit status 1; it said last: no such file"});
  stage.hold_nothing();
  stage.settle();
  expect_nothing_left(stage);
  EXPECT_NE(last(stage).failed.find("no such file"), std::string::npos);
  EXPECT_EQ(stage.run("beta").run, 1U) << "the guest is well";
  EXPECT_FALSE(proof(stage));
}

TEST(Rehearsal, FoundByANewDaemonIsTakenBack) {
  const core::Setup setup = rehearsed_setup();
  std::vector<Record> journal;
  Stage whole(setup);
  whole.on_step = [&](const Event&, const Outputs& out) {
    journal.insert(journal.end(), out.journal.begin(), out.journal.end());
  };
  whole.up();
  rehearse_until<action::AskStart>(whole, true);
  ASSERT_EQ(whole.where(kTwin), "starting on beta");

  Stage stage(setup);
  ASSERT_TRUE(stage.core.restore(journal));
  stage.hold<action::Adopt>();
  stage.hold<action::AskState>();
  stage.give(event::Resume{});
  stage.give(event::BringUp{});
  for (const std::string name : {"alpha", "beta"}) {
    std::vector<event::PluggedArea> areas;
    for (const Area& area : stage.core.state().table.areas()) {
      if (area.in == stage.run(name)) areas.push_back({area.id, 1_GiB + area.id.value * 128_MiB});
    }
    EXPECT_EQ(areas.size(), 4U);
    stage.give(event::GuestAdopted{stage.run(name), true, areas});
    stage.give(event::AgentGreeted{stage.run(name), stage.memory(stage.run(name))});
  }
  stage.give(event::AppsStated{stage.run("alpha"),
                               {event::AppStated{stage.app("db"), stage.epoch("db"), true, false, ""}}});
  stage.hold<action::AskStop>();
  stage.give(event::AppsStated{stage.run("beta"),
                               {event::AppStated{stage.app(kTwin), stage.epoch(kTwin), true, false, ""}}});
  EXPECT_EQ(stage.where(kTwin), "stopping on beta");
  EXPECT_TRUE(stage.asked<action::AskStart>().empty());
  stage.hold_nothing();
  stage.settle();
  expect_nothing_left(stage);
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_EQ(stage.areas(AreaState::unused), 4U);
  EXPECT_FALSE(proof(stage));
}

TEST(Proof, CountsForItsTimeAndIsThenSaidToBeOver) {
  core::Setup setup = rehearsed_setup();
  setup.apps[0].proven_for = std::chrono::seconds(30);
  Stage stage(setup);
  stage.up();
  rehearse(stage, true);
  stage.settle();
  stage.pass(std::chrono::seconds(29));
  EXPECT_TRUE(proof(stage)->void_why.empty());
  EXPECT_FALSE(stage.noted("proof-expired"));
  stage.pass(std::chrono::seconds(2));
  EXPECT_NE(proof(stage)->void_why.find("30 s ago"), std::string::npos) << proof(stage)->void_why;
  EXPECT_TRUE(stage.noted("proof-expired"));
}

TEST(Proof, OfTheMemoryAloneDoesNotReplaceThatOfAStart) {
  Stage stage(rehearsed_setup());
  stage.up();
  rehearse(stage, true);
  stage.settle();
  rehearse(stage, false);
  stage.settle();
  EXPECT_EQ(last(stage).number, 2U);
  EXPECT_TRUE(proof(stage)->start);
}

TEST(Proof, OutlivesARebootOfTheStandbyButNotAnotherImage) {
  Stage stage(rehearsed_setup());
  stage.up();
  rehearse(stage, true);
  stage.settle();
  stage.give(event::GuestPanicked{stage.run("beta")});
  stage.settle();
  ASSERT_EQ(stage.run("beta").run, 2U);
  EXPECT_EQ(proof(stage)->void_why, "");
  stage.image = "image 2";
  stage.give(event::GuestPanicked{stage.run("beta")});
  stage.settle();
  EXPECT_EQ(proof(stage)->void_why, "beta has booted another image since");
  EXPECT_TRUE(stage.noted("proof-expired"));
}

TEST(Proof, OfAFormerDaemonCountsOn) {
  core::Setup setup = rehearsed_setup();
  setup.apps[0].proven_for = std::chrono::seconds(30);
  Stage stage(setup);
  stage.up();
  stage.give(event::Proven{stage.app("db"), std::chrono::seconds(20), true, stage.guest("beta"),
                           std::chrono::milliseconds(300), 512_MiB, "image 1"});
  EXPECT_TRUE(proof(stage)->void_why.empty());
  stage.pass(std::chrono::seconds(11));
  EXPECT_FALSE(proof(stage)->void_why.empty());
}

}  // namespace
}  // namespace understudy::core

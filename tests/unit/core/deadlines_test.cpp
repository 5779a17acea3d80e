// Nothing fails in silence: every state of the core that a limit ends says so when the limit passes, with the
// limit. The walk goes through all states that there are; a new one has to be listed here before this
// compiles or passes.
#include "core/notice_kinds.hpp"
#include "core/view.hpp"
#include "stage.hpp"

#include <map>
#include <utility>

namespace understudy::core {
namespace {

using namespace std::chrono_literals;

struct Case {
  std::string state;  // of db, or of the guest "alpha" or "beta": "beta booting"
  Duration limit;
  std::function<Stage()> make;
  std::vector<std::string> silent = {};  // guests whose agents say nothing
};

template <class Action>
Stage panicked_with(Setup setup = plain_setup()) {
  Stage stage(std::move(setup));
  stage.up();
  stage.hold<Action>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  return stage;
}

Stage stopping() {
  Stage stage;
  stage.up();
  stage.hold<action::AskStop>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  return stage;
}

Stage releasing() {
  Stage stage;
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed", ""});
  stage.settle();
  return stage;
}

Stage growing() {
  Setup setup = plain_setup();
  setup.pool.area_count += 2;
  setup.apps[0].maximum_bytes += 128_MiB;
  Stage stage(setup);
  stage.up();
  stage.hold<action::Plug>();
  stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 64_MiB});
  stage.settle();
  return stage;
}

// A rehearsal whose memory waits in beta for db, which does not come: alpha is not verified stopped.
Stage yielding() {
  Setup setup = plain_setup();
  setup.pool.area_count += 4;
  Stage stage(with_rehearsals(setup));
  stage.up();
  stage.hold<action::AskEngage>();
  stage.give(event::Rehearse{stage.app("db"), false});
  stage.settle();
  stage.hold<action::Fence>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  const auto ask = stage.take_request<action::AskEngage>();
  stage.give(event::AreasEngaged{ask.run, ask.app, ask.epoch, stage.memory(ask.run)});
  stage.settle();
  return stage;
}

Stage booting() {
  Stage stage;
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestPanicked{stage.run("beta")});
  stage.settle();
  stage.give(event::GuestLaunched{stage.run("beta"), "image 1"});
  return stage;
}

Stage launch_failed() {
  Stage stage;
  stage.up();
  stage.hold<action::Launch>();
  stage.give(event::GuestPanicked{stage.run("beta")});
  stage.settle();
  stage.give(event::LaunchFailed{stage.run("beta"), "no memory"});
  return stage;
}

Stage everything_well() {
  Stage stage;
  stage.up();
  return stage;
}

Stage suspected() {
  Stage stage;
  stage.up();
  stage.give(event::AgentLost{stage.run("beta"), "its channel closed"});
  stage.settle();
  return stage;
}

// Found by a new daemon; its agent greets and does not say what runs.
Stage silent_about_its_applications() {
  Stage stage;
  const std::vector<Record> rows{GuestRecord{stage.guest("beta"), 1, GuestDurable::up, "", true}};
  EXPECT_TRUE(stage.core.restore(rows));
  stage.hold<action::Adopt>();
  stage.hold<action::AskState>();
  stage.hold<action::Launch>();
  stage.give(event::Resume{});
  stage.give(event::GuestAdopted{stage.run("beta"), true, {}});
  stage.give(event::AgentGreeted{stage.run("beta"), stage.memory(stage.run("beta"))});
  return stage;
}

Stage slow_takeover() {
  Setup setup = plain_setup();
  setup.apps[0].start_limit = 60s;
  return panicked_with<action::AskStart>(setup);
}

std::vector<Case> cases() {
  return {{"stopping", 5s, stopping},
          {"releasing", 3s, releasing},
          {"sizing", 5s, [] { return panicked_with<action::AskNeed>(); }},
          {"attaching", 20s, [] { return panicked_with<action::Plug>(); }},
          {"onlining", 20s, [] { return panicked_with<action::AskEngage>(); }},
          {"starting", 10s, [] { return panicked_with<action::AskStart>(); }},
          {"yielding", 10s, yielding},
          {"growing", 20s, growing},
          {"beta booting", 20s, booting},
          {"beta ready", 500ms, everything_well, {"beta"}},
          {"beta adopted", 20s, silent_about_its_applications},
          {"beta suspect", 15s, suspected, {"beta"}},
          {"alpha fenced", 10s, slow_takeover}};
}

// What no limit of the core ends, and why not.
const std::map<std::string, std::string> kOtherwise{
    {"fencing", "the fence is the port's, which has limits and ends with a kill"},
    {"resuming", "the adopted guest has one"},
    {"waiting", "it goes on whenever anything changes; each attempt is an event"},
    {"beta off", "launched again when its delay is over, which is an event"},
    {"beta adopting", "the port's"},
    {"beta launching", "the port's"},
    {"beta fencing", "the port's"},
    {"beta discarding", "the port's"}};

std::string state_of(const Stage& stage, const Case& c) {
  const State& state = stage.core.state();
  const std::size_t blank = c.state.find(' ');
  if (blank != std::string::npos) {
    const Guest& guest = state.guest(stage.guest(c.state.substr(0, blank)));
    if (c.state.ends_with("adopted")) return guest.adopted && guest.ready() != nullptr ? c.state : "another";
    return c.state.substr(0, blank + 1) + guest_state_name(guest.state);
  }
  if (c.state == "growing") {
    const auto* serving = state.app(stage.app("db")).serving();
    return serving != nullptr && serving->growing ? c.state : "another";
  }
  const Application& app = c.state == "yielding" ? state.apps.back() : state.app(stage.app("db"));
  return app.moving() != nullptr ? move_step_name(app.moving()->move.step) : "none";
}

TEST(Deadlines, EachThatPassesIsAnEventWithItsLimit) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.state);
    Stage stage = c.make();
    ASSERT_EQ(state_of(stage, c), c.state);
    stage.forget();
    const Time began = stage.now;
    const std::string where = stage.where("db");
    std::vector<Notice> said;
    while (state_of(stage, c) == c.state && stage.where("db") == where && stage.now - began < c.limit + 5s) {
      stage.forget();
      stage.pass(50ms, c.silent);
      said = stage.out.notices;
    }
    EXPECT_TRUE(state_of(stage, c) != c.state || stage.where("db") != where) << "nothing ends it";
    EXPECT_GE(stage.now - began + 600ms, c.limit);
    const bool told = std::any_of(said.begin(), said.end(), [&](const Notice& notice) {
      return notice.severity != Severity::info &&
             notice.text.find(format_duration(c.limit)) != std::string::npos;
    });
    EXPECT_TRUE(told) << "no event with the limit of " << format_duration(c.limit);
    for (const Notice& notice : said) {
      const bool known =
          std::find(kNoticeKinds.begin(), kNoticeKinds.end(), notice.kind) != kNoticeKinds.end();
      EXPECT_TRUE(known) << "no hook can hang on " << notice.kind;
    }
  }
}

template <class Variant, class Name, std::size_t... I>
std::vector<std::string> names_of(Name name, std::index_sequence<I...>) {
  return {name(Variant(std::in_place_index<I>))...};
}

TEST(Deadlines, OfEveryStateAreWalkedOrSomebodyElsesAndNamed) {
  std::vector<std::string> all =
      names_of<MoveStep>(move_step_name, std::make_index_sequence<std::variant_size_v<MoveStep>>());
  for (const std::string& name :
       names_of<GuestState>(guest_state_name, std::make_index_sequence<std::variant_size_v<GuestState>>())) {
    all.push_back("beta " + name);
  }
  const std::vector<Case> walked = cases();
  for (const std::string& name : all) {
    const bool is_walked = std::any_of(walked.begin(), walked.end(), [&](const Case& c) {
      return c.state == name || (name == "beta fenced" && c.state == "alpha fenced");
    });
    EXPECT_NE(is_walked, kOtherwise.count(name) == 1) << name;
  }
}

TEST(Deadlines, ADelayBeforeTheNextLaunchIsSaidAndSoIsTheLaunch) {
  Stage stage = launch_failed();
  EXPECT_TRUE(stage.noted("guest-launch-failed"));
  stage.forget();
  stage.pass(2s);
  EXPECT_TRUE(stage.noted("guest-launching"));
}

TEST(Deadlines, VcpusThatDoNotComeAreAskedForAgainAndThatIsSaid) {
  core::Setup setup = plain_setup();
  setup.apps[0].vcpus = 2;
  Stage stage(setup);
  stage.hold<action::PlugVcpus>();
  stage.up();
  ASSERT_TRUE(stage.waits<action::PlugVcpus>());
  stage.pass(25s);
  EXPECT_TRUE(stage.noted("limit-passed"));
}

// An application that is never ready is tried ever more rarely, and each attempt is counted and said.
TEST(Deadlines, AStartThatNeverSucceedsBacksOffAndSaysSo) {
  Stage stage;
  stage.hold<action::AskStart>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto fail = [&] {
    if (!stage.waits<action::AskStart>()) return;
    const auto ask = stage.take_request<action::AskStart>();
    stage.give(event::AppStartFailed{ask.run, ask.app, ask.epoch,
                                     "it was not ready within 10 s; its last check: Connection refused",
                                     "loading\nno such file: /etc/db.conf"});
    stage.settle();
  };
  for (int seconds = 0; seconds < 600; ++seconds) {
    stage.pass(1s);
    fail();
  }
  const Application& db = stage.core.state().app(stage.app("db"));
  EXPECT_GE(db.failed_starts, 16U) << "it is not given up";
  EXPECT_LE(db.failed_starts, 40U) << "it backs off";
  EXPECT_NE(db.failing.find("Connection refused"), std::string::npos) << db.failing;
  std::size_t said = 0;
  for (const Notice& notice : stage.out.notices) {
    if (notice.kind != "app-start-failed") continue;
    ++said;
    EXPECT_NE(notice.text.find("(attempt " + std::to_string(said) + ")"), std::string::npos) << notice.text;
    EXPECT_NE(notice.text.find("its output:\nloading\nno such file: /etc/db.conf"), std::string::npos);
  }
  EXPECT_EQ(said, db.failed_starts);
  EXPECT_LT(stage.out.notices.size(), 40 * db.failed_starts) << "and it is not a flood";
}

// The report tells attempts in vain from what led there.
TEST(Deadlines, AFailedAttemptIsNoDetachInTheReport) {
  Stage stage(plain_setup(3));
  stage.up();
  stage.hold<action::AskStart>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  const auto first = stage.take_request<action::AskStart>();
  ASSERT_EQ(first.run.guest, stage.guest("beta"));
  stage.pass(2s);
  stage.give(event::AppStartFailed{first.run, first.app, first.epoch, "exit status 1"});
  stage.forget();
  stage.hold_nothing();
  stage.settle();
  ASSERT_EQ(stage.where("db"), "serving on gamma");
  const TakeoverReport& report = stage.out.reports.at(0);
  EXPECT_EQ(report.phases[static_cast<std::size_t>(Phase::detach)], Duration{});
  EXPECT_EQ(report.attempts_in_vain, 1U);
  ASSERT_EQ(report.attempts.size(), 1U);
  EXPECT_EQ(report.attempts[0].on, stage.guest("beta"));
  EXPECT_EQ(report.attempts[0].why, "exit status 1");
  EXPECT_GE(report.attempts[0].took, 2s);
  EXPECT_EQ(report.bytes_moved, 4 * 128_MiB) << "once, to where it serves";
  EXPECT_EQ(report.to, stage.guest("gamma"));
  EXPECT_GE(report.total(), 2s);
}

TEST(Deadlines, WhoeverServesAgainWhereItFailedWasNotTakenOver) {
  Stage stage;
  stage.up();
  stage.give(event::Maintenance{stage.guest("beta"), {}, 10min});
  stage.forget();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed", ""});
  stage.settle();
  stage.pass(2s);
  ASSERT_EQ(stage.where("db"), "serving on alpha");
  const TakeoverReport& report = stage.out.reports.at(0);
  EXPECT_FALSE(report.from) << "not alpha -> alpha";
  EXPECT_EQ(report.bytes_moved, 0U);
}

TEST(Deadlines, AMoveThatIsUnderWayHasAReport) {
  Stage stage = panicked_with<action::AskStart>();
  stage.pass(2s);
  const auto report = report_under_way(stage.core.state(), stage.core.state().app(stage.app("db")));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->cause, "kernel panic of alpha");
  EXPECT_EQ(report->from, stage.guest("alpha"));
  EXPECT_EQ(report->to, stage.guest("beta"));
  EXPECT_EQ(report->result.substr(0, 9), "under way");
  EXPECT_GE(report->phases[static_cast<std::size_t>(Phase::start)], 1900ms);
  stage.hold_nothing();
  stage.settle();
  EXPECT_FALSE(report_under_way(stage.core.state(), stage.core.state().app(stage.app("db"))));
}

}  // namespace
}  // namespace understudy::core

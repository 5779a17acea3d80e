// Who is given up because guests fail again and again: whose fault it is, as far as that can be known.
#include "core/view.hpp"
#include "stage.hpp"

namespace understudy::core {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kLimit = 2;

Setup limited(std::size_t guests, std::size_t apps) {
  core::Setup setup = plain_setup(guests, apps);
  for (AppSetup& app : setup.apps) {
    app.flap_takeovers = kLimit;
    app.flap_window = 20s;
  }
  return setup;
}

// The guest of this application fails, with all that are in it.
void its_guest_fails(Stage& stage, const std::string& app) {
  stage.give(event::GuestPanicked{stage.core.state().app(stage.app(app)).place().value()});
  stage.settle();
  stage.pass(2s);
}

void fails_times(Stage& stage, const std::string& app, std::uint32_t times) {
  for (std::uint32_t i = 0; i < times; ++i) its_guest_fails(stage, app);
}

const Application& application(const Stage& stage, const std::string& name) {
  return stage.core.state().app(stage.app(name));
}

bool serves(const Stage& stage, const std::string& app) {
  return application(stage, app).serving() != nullptr;
}

Protection claim(const Stage& stage, const std::string& app) {
  return protection(stage.core.state(), application(stage, app));
}

TEST(Flapping, OfThoseThatShareGuestsOneIsGivenUpAndThatIsForetold) {
  Stage stage(limited(2, 3));
  stage.up();
  fails_times(stage, "db", kLimit);
  EXPECT_TRUE(claim(stage, "db").is_protected) << claim(stage, "db").why;
  EXPECT_TRUE(claim(stage, "web").is_protected) << claim(stage, "web").why;
  EXPECT_TRUE(claim(stage, "queue").would_be_given_up);
  its_guest_fails(stage, "db");
  EXPECT_TRUE(serves(stage, "db"));
  EXPECT_TRUE(serves(stage, "web"));
  EXPECT_EQ(stage.where("queue"), "failed");
  const std::string why = app_trouble(application(stage, "queue"));
  EXPECT_NE(why.find("more than 2 takeovers within 20 s"), std::string::npos) << why;
  EXPECT_NE(why.find("db, web failed with it"), std::string::npos) << why;
  stage.forget();
  stage.pass(50s);
  EXPECT_EQ(stage.where("queue"), "failed") << "since then no guest has failed: it was that one";
  its_guest_fails(stage, "db");
  stage.pass(50s);
  EXPECT_EQ(stage.where("queue"), "failed") << "one guest that fails much later proves nothing";
  EXPECT_FALSE(stage.noted("app-taken-back"));
}

TEST(Flapping, WhoFailsAloneIsTheOneAndTheOthersComeBack) {
  Stage stage(limited(2, 3));
  stage.up();
  fails_times(stage, "db", kLimit + 1);
  stage.forget();
  its_guest_fails(stage, "db");
  EXPECT_EQ(stage.where("web"), "failed");
  EXPECT_EQ(stage.where("queue"), "waiting") << "it was not its fault alone";
  EXPECT_TRUE(stage.noted("app-taken-back"));
  EXPECT_NE(app_trouble(application(stage, "queue")).find("none of db, web has lost a guest for 20 s"),
            std::string::npos)
      << app_trouble(application(stage, "queue"));
  EXPECT_EQ(stage.core.state().table.held_by(stage.app("queue")).size(), 0U) << "others may need it";
  its_guest_fails(stage, "db");
  EXPECT_EQ(stage.where("db"), "failed");
  EXPECT_TRUE(serves(stage, "web"));
  EXPECT_TRUE(serves(stage, "queue"));
  stage.pass(50s);
  EXPECT_EQ(stage.where("db"), "failed") << "it was its own fault: nothing takes it back";
}

TEST(Flapping, WhoWasNotTheOneComesBackWhenItIsQuiet) {
  Stage stage(limited(2, 3));
  stage.up();
  fails_times(stage, "db", kLimit + 2);
  ASSERT_EQ(stage.where("queue"), "waiting");
  ASSERT_EQ(stage.where("web"), "failed");
  stage.pass(15s);
  EXPECT_EQ(stage.where("queue"), "waiting");
  stage.pass(4s);
  EXPECT_TRUE(serves(stage, "queue"));
  EXPECT_TRUE(claim(stage, "queue").is_protected) << "it begins anew";
  EXPECT_EQ(stage.where("web"), "failed") << "since it was given up nothing has failed";
}

// db is the one, and quiet while it is alone.
TEST(Flapping, WhoIsQuietWhileAloneIsFoundByHowManyGuestsItHasLost) {
  Stage stage(limited(2, 3));
  stage.up();
  fails_times(stage, "db", kLimit + 1);
  ASSERT_EQ(stage.where("queue"), "failed");
  stage.pass(50s);
  fails_times(stage, "db", kLimit + 1);
  ASSERT_EQ(stage.where("web"), "failed");
  stage.pass(50s);
  ASSERT_TRUE(serves(stage, "queue")) << "the limit was reached without it";
  fails_times(stage, "db", kLimit + 1);
  EXPECT_EQ(stage.where("db"), "failed");
  EXPECT_TRUE(serves(stage, "queue"));
  stage.pass(50s);
  EXPECT_TRUE(serves(stage, "web"));
  EXPECT_EQ(stage.where("db"), "failed");
}

TEST(Flapping, WhoMattersLeastIsFirst) {
  core::Setup setup = limited(2, 3);
  setup.apps[2].priority = 2;
  setup.apps[1].priority = 1;
  Stage stage(setup);
  stage.up();
  fails_times(stage, "db", kLimit + 1);
  EXPECT_EQ(stage.where("db"), "failed");
  EXPECT_TRUE(serves(stage, "web"));
  EXPECT_TRUE(serves(stage, "queue"));
}

TEST(Flapping, WhoHasNoLimitIsNeverGivenUpAndMayBeTheOneAllTheSame) {
  core::Setup setup = limited(2, 2);
  setup.apps[0].flap_takeovers = 0;
  Stage stage(setup);
  stage.up();
  fails_times(stage, "db", kLimit + 1);
  ASSERT_EQ(stage.where("web"), "failed");
  its_guest_fails(stage, "db");
  EXPECT_TRUE(serves(stage, "db"));
  EXPECT_TRUE(serves(stage, "web"));
  fails_times(stage, "db", kLimit + 2);
  EXPECT_TRUE(serves(stage, "web")) << "db has failed alone: these were its fault";
  EXPECT_TRUE(claim(stage, "web").is_protected) << claim(stage, "web").why;
}

TEST(Flapping, AnOrderEndsTheWaiting) {
  for (const bool start : {true, false}) {
    Stage stage(limited(2, 3));
    stage.up();
    fails_times(stage, "db", kLimit + 2);
    ASSERT_EQ(stage.where("queue"), "waiting");
    if (start) stage.give(event::StartApp{stage.app("queue")});
    if (!start) stage.give(event::StopApp{stage.app("queue")});
    stage.settle();
    EXPECT_EQ(serves(stage, "queue"), start);
    its_guest_fails(stage, "db");
    stage.pass(50s);
    EXPECT_EQ(serves(stage, "queue"), start) << "stopped is stopped";
  }
}

TEST(Flapping, WhoIsStoppedByOrderWhileGivenUpStaysStopped) {
  Stage stage(limited(2, 3));
  stage.up();
  fails_times(stage, "db", kLimit + 1);
  ASSERT_EQ(stage.where("queue"), "failed");
  EXPECT_EQ(why_not_stop(stage.core.state(), application(stage, "queue")), "");
  stage.forget();
  stage.give(event::StopApp{stage.app("queue")});
  EXPECT_TRUE(stage.noted("app-stopped"));
  EXPECT_EQ(app_state_word(application(stage, "queue")), "stopped");
  fails_times(stage, "db", 2);
  stage.pass(50s);
  EXPECT_EQ(app_state_word(application(stage, "queue")), "stopped");
}

TEST(Flapping, GoingDownBringsNobodyBack) {
  Stage stage(limited(2, 3));
  stage.up();
  fails_times(stage, "db", kLimit + 1);
  ASSERT_EQ(stage.where("queue"), "failed");
  stage.hold<action::AskStop>();
  stage.give(event::BringDown{});
  its_guest_fails(stage, "db");
  stage.hold_nothing();
  stage.settle();
  stage.pass(10s);
  EXPECT_TRUE(stage.core.is_down());
  EXPECT_FALSE(serves(stage, "queue"));
}

// Every time its guest has to be ended for it, because it does not end.
TEST(Flapping, AGuestThatIsEndedForOneCountsForThatOne) {
  Stage stage(limited(2, 2));
  stage.up();
  for (std::uint32_t i = 0; i < kLimit + 1; ++i) {
    ASSERT_TRUE(serves(stage, "db"));
    stage.give(event::StopFailed{application(stage, "db").place().value(), stage.app("db"), stage.epoch("db"),
                                 "it hangs in the kernel"});
    stage.settle();
    stage.pass(2s);
  }
  EXPECT_EQ(stage.where("db"), "failed");
  EXPECT_TRUE(serves(stage, "web"));
  fails_times(stage, "web", kLimit);
  EXPECT_TRUE(serves(stage, "web")) << "those before did not count for it";
}

TEST(Flapping, AGuestThatIsEndedByOrderCountsForNobody) {
  Stage stage(limited(2, 2));
  stage.up();
  for (std::uint32_t i = 0; i < 2 * kLimit + 2; ++i) {
    stage.hold<action::AskStop>();
    stage.give(event::Switchover{stage.app("db"), std::nullopt, true});
    stage.pass(6s);  // it does not end within its limit
    stage.hold_nothing();
    stage.waiting.clear();
    stage.pass(2s);
    ASSERT_TRUE(serves(stage, "db")) << stage.where("db");
    ASSERT_TRUE(serves(stage, "web")) << stage.where("web");
  }
}

// web makes the guest fail where it is being started, and is never seen to serve.
TEST(Flapping, WhoIsBeingStartedMayBeTheOne) {
  core::Setup setup = limited(2, 2);
  setup.apps[1].priority = 1;
  Stage stage(setup);
  stage.up();
  for (std::uint32_t i = 0; i < kLimit + 1; ++i) {
    stage.hold<action::AskStart>();
    its_guest_fails(stage, "db");
    stage.hold_nothing();
    while (stage.waits<action::AskStart>()) {
      const auto start = stage.take_request<action::AskStart>();
      if (start.app == stage.app("db"))
        stage.give(event::AppServing{start.run, start.app, start.epoch, 4_MiB, start.areas});
    }
    stage.settle();
  }
  EXPECT_FALSE(application(stage, "db").failed_alone);
  EXPECT_EQ(application(stage, "web").lost_with_others, application(stage, "db").lost_with_others);
}

TEST(Flapping, ARehearsalsApplicationMayBeTheOne) {
  core::Setup setup = limited(2, 2);
  setup.apps[1].guests = {GuestId{1}, GuestId{0}};
  setup.pool.area_count = 12;
  Stage stage(with_rehearsals(setup));
  stage.up();
  ASSERT_EQ(stage.where("db"), "serving on alpha");
  ASSERT_EQ(stage.where("web"), "serving on beta");
  stage.hold<action::AskStart>();
  stage.give(event::Rehearse{stage.app("web"), true});
  stage.settle();
  ASSERT_TRUE(stage.waits<action::AskStart>());
  stage.give(event::GuestPanicked{stage.run("alpha")});
  EXPECT_FALSE(application(stage, "db").failed_alone);
  EXPECT_EQ(application(stage, "db").lost_with_others, 1U);
}

}  // namespace
}  // namespace understudy::core

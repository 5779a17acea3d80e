// vCPUs beyond a guest's base: they follow their application and hold nobody up.
#include "core/view.hpp"
#include "stage.hpp"

namespace understudy::core {
namespace {

Setup setup_with(std::uint32_t vcpus, std::size_t apps = 1) {
  Setup setup = plain_setup(2, apps);
  for (AppSetup& app : setup.apps) app.vcpus = vcpus;
  return setup;
}

std::uint32_t in(const Stage& stage, const std::string& guest) {
  return application_vcpus(stage.core.state().guest(stage.guest(guest)));
}

VcpuRow row(const Stage& stage, const std::string& id) {
  for (const VcpuRow& row : table_view(stage.core.state(), {}).vcpus) {
    if (row.id == id) return row;
  }
  ADD_FAILURE() << "no row " << id;
  return {};
}

bool has_row(const Stage& stage, const std::string& id) {
  const auto rows = table_view(stage.core.state(), {}).vcpus;
  return std::any_of(rows.begin(), rows.end(), [&](const VcpuRow& row) { return row.id == id; });
}

void panic(Stage& stage, const std::string& guest) {
  stage.give(event::GuestPanicked{stage.run(guest)});
  stage.settle();
}

TEST(Vcpus, AnApplicationWithoutAsksForNone) {
  Stage stage(setup_with(0));
  stage.give(event::BringUp{});
  stage.settle();
  panic(stage, "alpha");
  EXPECT_TRUE(stage.asked<action::PlugVcpus>().empty());
  EXPECT_TRUE(stage.asked<action::UnplugVcpus>().empty());
  EXPECT_FALSE(has_row(stage, "vcpus-db"));
}

TEST(Vcpus, TheyAreAskedForWhenTheApplicationServesAndNothingWaitsForThem) {
  Stage stage(setup_with(2));
  stage.hold<action::AskStart>();
  stage.hold<action::PlugVcpus>();
  stage.give(event::BringUp{});
  stage.settle();
  EXPECT_TRUE(stage.asked<action::PlugVcpus>().empty()) << "before it serves";
  EXPECT_EQ(row(stage, "vcpus-db").state, "unplugged");
  const auto start = stage.take_request<action::AskStart>();
  stage.give(event::AppServing{start.run, start.app, start.epoch, 0, {}});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  ASSERT_EQ(stage.out.reports.size(), 1U) << "the start is over before they are in";
  ASSERT_EQ(stage.asked<action::PlugVcpus>().size(), 1U);
  EXPECT_EQ(stage.asked<action::PlugVcpus>()[0].count, 2U);
  EXPECT_EQ(row(stage, "vcpus-alpha-db").state, "plugging");
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(in(stage, "alpha"), 2U);
  const VcpuRow now = row(stage, "vcpus-alpha-db");
  EXPECT_EQ(now.state, "plugged");
  EXPECT_EQ(now.count, 2U);
  EXPECT_EQ(now.user, "db");
  EXPECT_EQ(now.attached_to, "alpha");
  EXPECT_EQ(now.takeover_target, "beta");
  EXPECT_EQ(row(stage, "vcpus-alpha").count, 1U);
}

TEST(Vcpus, AfterASwitchoverTheyLeaveOnlyWhenTheAreasHaveLeft) {
  Stage stage(setup_with(1));
  stage.up();
  stage.hold<action::AskRelease>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "releasing on alpha");
  EXPECT_TRUE(stage.asked<action::UnplugVcpus>().empty()) << "the areas are what the takeover waits for";
  stage.hold_nothing();
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  ASSERT_EQ(stage.asked<action::UnplugVcpus>().size(), 1U);
  EXPECT_EQ(stage.asked<action::UnplugVcpus>()[0].run, stage.run("alpha"));
  EXPECT_EQ(in(stage, "alpha"), 0U);
  EXPECT_EQ(in(stage, "beta"), 1U);
  EXPECT_FALSE(has_row(stage, "vcpus-alpha-db"));
}

TEST(Vcpus, WithAFencedGuestTheyAreGone) {
  Stage stage(setup_with(1));
  stage.up();
  panic(stage, "alpha");
  EXPECT_TRUE(stage.asked<action::UnplugVcpus>().empty());
  EXPECT_EQ(stage.where("db"), "serving on beta");
  EXPECT_EQ(in(stage, "alpha"), 0U);
  EXPECT_EQ(in(stage, "beta"), 1U);
}

TEST(Vcpus, AnApplicationThatIsGivenUpHasNone) {
  core::Setup setup = setup_with(1);
  setup.apps[0].hot_standby = false;
  Stage stage(setup);
  stage.up();
  stage.give(event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "signal 11", ""});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "failed");
  EXPECT_EQ(in(stage, "alpha"), 0U);
  EXPECT_EQ(stage.asked<action::UnplugVcpus>().size(), 1U);
}

TEST(Vcpus, AGuestThatKeepsThemCostsNothingElseAndIsAskedAgain) {
  Stage stage(setup_with(2));
  stage.up();
  stage.hold<action::UnplugVcpus>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  const auto asked = stage.take_request<action::UnplugVcpus>();
  stage.give(event::VcpusUnplugged{asked.run, asked.app, 1, "the guest refused"});
  EXPECT_TRUE(stage.noted("vcpus-kept"));
  const VcpuRow kept = row(stage, "vcpus-alpha-db");
  EXPECT_EQ(kept.state, "kept");
  EXPECT_EQ(kept.count, 1U);
  EXPECT_EQ(kept.wanted, 0U);
  EXPECT_EQ(kept.why, "the guest refused");
  EXPECT_EQ(kept.takeover_target, "");
  EXPECT_EQ(stage.is("alpha"), "ready");
  EXPECT_TRUE(stage.asked<action::Fence>().empty());
  EXPECT_FALSE(stage.waits<action::UnplugVcpus>());
  stage.pass(std::chrono::seconds(11));
  EXPECT_TRUE(stage.waits<action::UnplugVcpus>());
}

TEST(Vcpus, WhatAGuestLetsGoLateIsHeardUnasked) {
  Stage stage(setup_with(1));
  stage.up();
  stage.hold<action::UnplugVcpus>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  const auto asked = stage.take_request<action::UnplugVcpus>();
  stage.give(event::VcpusUnplugged{asked.run, asked.app, 1, "the guest refused"});
  stage.give(event::VcpusUnplugged{asked.run, asked.app, 0, ""});
  EXPECT_FALSE(has_row(stage, "vcpus-alpha-db"));
}

TEST(Vcpus, KeptOnesAreItsOwnWhenItComesBack) {
  Stage stage(setup_with(1));
  stage.up();
  stage.hold<action::UnplugVcpus>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  const auto asked = stage.take_request<action::UnplugVcpus>();
  stage.give(event::VcpusUnplugged{asked.run, asked.app, 1, "the guest refused"});
  stage.forget();
  panic(stage, "beta");
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(stage.asked<action::PlugVcpus>().empty());
  EXPECT_EQ(row(stage, "vcpus-alpha-db").state, "plugged");
  // Its kernel lets go of it after all: another is plugged.
  stage.give(event::VcpusUnplugged{asked.run, asked.app, 0, ""});
  stage.settle();
  EXPECT_EQ(stage.asked<action::PlugVcpus>().size(), 1U);
  EXPECT_EQ(in(stage, "alpha"), 1U);
}

TEST(Vcpus, WithFewerItServesAllTheSameAndTheRestIsTriedAgain) {
  Stage stage(setup_with(2));
  stage.hold<action::PlugVcpus>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto asked = stage.take_request<action::PlugVcpus>();
  stage.give(event::VcpusPlugged{asked.run, asked.app, 1, "device_add: refused"});
  EXPECT_TRUE(stage.noted("vcpus-missing"));
  EXPECT_EQ(stage.where("db"), "serving on alpha");
  EXPECT_TRUE(protection(stage.core.state(), stage.core.state().apps[0]).is_protected);
  stage.forget();
  stage.pass(std::chrono::seconds(9));
  EXPECT_FALSE(stage.waits<action::PlugVcpus>());
  stage.pass(std::chrono::seconds(2));
  const auto again = stage.take_request<action::PlugVcpus>();
  EXPECT_EQ(again.count, 2U);
  stage.give(event::VcpusPlugged{again.run, again.app, 1, "device_add: refused"});
  EXPECT_FALSE(stage.noted("vcpus-missing")) << "said again and again";
}

TEST(Vcpus, AnAnswerThatNeverComesIsAskedForAgain) {
  Stage stage(setup_with(1));
  stage.hold<action::PlugVcpus>();
  stage.give(event::BringUp{});
  stage.settle();
  (void)stage.take_request<action::PlugVcpus>();
  stage.pass(std::chrono::seconds(21));
  EXPECT_TRUE(stage.waits<action::PlugVcpus>());
  EXPECT_EQ(row(stage, "vcpus-alpha-db").state, "plugging");
}

TEST(Vcpus, PluggedTooLateTheyAreTakenBack) {
  Stage stage(setup_with(1));
  stage.hold<action::PlugVcpus>();
  stage.give(event::BringUp{});
  stage.settle();
  const auto asked = stage.take_request<action::PlugVcpus>();
  stage.hold_nothing();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  EXPECT_EQ(stage.where("db"), "serving on beta");
  stage.give(event::VcpusPlugged{asked.run, asked.app, 1, ""});
  stage.settle();
  EXPECT_EQ(in(stage, "alpha"), 0U);
  EXPECT_EQ(stage.asked<action::UnplugVcpus>().size(), 1U);
}

TEST(Vcpus, WordsOfAFormerRunChangeNothing) {
  Stage stage(setup_with(1));
  stage.up();
  const GuestRun former = stage.run("alpha");
  panic(stage, "alpha");
  stage.forget();
  stage.give(event::VcpusPlugged{former, stage.app("db"), 1, ""});
  stage.give(event::VcpusUnplugged{former, stage.app("db"), 1, "late"});
  EXPECT_EQ(in(stage, "alpha"), 0U);
  EXPECT_TRUE(stage.out.notices.empty());
}

// The next daemon: everybody is asked, nobody has answered. What is plugged into alpha.
std::vector<event::PluggedArea> resume(Stage& stage, const Stage& before) {
  EXPECT_TRUE(stage.core.restore(before.out.journal));
  stage.hold<action::Adopt>();
  stage.hold<action::AskState>();
  stage.give(event::Resume{});
  const GuestRun alpha = stage.run("alpha");
  std::vector<event::PluggedArea> areas;
  for (const Area& area : stage.core.state().table.areas()) {
    if (area.in == alpha) areas.push_back({area.id, area.guest_address});
  }
  return areas;
}

TEST(Vcpus, ARestartedDaemonHasThemFromTheHypervisorAndTakesBackWhatIsNotInPlace) {
  Stage before(setup_with(1, 2));
  before.give(event::BringUp{});
  before.settle();
  Stage stage(before.setup());
  const auto areas = resume(stage, before);
  const GuestRun alpha = stage.run("alpha");
  // One application's is there; of beta's somebody has left one of an application that is not in it.
  stage.give(event::GuestAdopted{alpha, true, areas, {{stage.app("db"), 1}, {AppId{77}, 3}}});
  stage.give(event::GuestAdopted{stage.run("beta"), true, {}, {{stage.app("db"), 1}}});
  stage.give(event::AgentGreeted{alpha, stage.memory(alpha)});
  EXPECT_EQ(in(stage, "alpha"), 1U);
  EXPECT_TRUE(stage.asked<action::PlugVcpus>().empty()) << "before the agent has said what runs";
  stage.give(event::AppsStated{alpha,
                               {{stage.app("db"), before.epoch("db"), true, false, ""},
                                {stage.app("web"), before.epoch("web"), true, false, ""}}});
  ASSERT_EQ(stage.asked<action::PlugVcpus>().size(), 1U) << "of web alone";
  EXPECT_EQ(stage.asked<action::PlugVcpus>()[0].app, stage.app("web"));
  stage.give(event::AgentGreeted{stage.run("beta"), stage.memory(stage.run("beta"))});
  ASSERT_EQ(stage.asked<action::UnplugVcpus>().size(), 1U);
  EXPECT_EQ(stage.asked<action::UnplugVcpus>()[0].run, stage.run("beta"));
}

// Found by the simulator: the word came between the adoption and the agent's first, and was forgotten.
TEST(Vcpus, WhatIsLetGoOfBeforeTheAgentHasSpokenToTheNextDaemonCounts) {
  Stage before(setup_with(1, 2));
  before.give(event::BringUp{});
  before.settle();
  Stage stage(before.setup());
  (void)resume(stage, before);
  const GuestRun beta = stage.run("beta");
  stage.give(event::GuestAdopted{beta, true, {}, {{stage.app("db"), 1}}});
  stage.give(event::VcpusUnplugged{beta, stage.app("db"), 0, ""});
  stage.give(event::AgentGreeted{beta, stage.memory(beta)});
  EXPECT_EQ(in(stage, "beta"), 0U);
  EXPECT_TRUE(stage.asked<action::UnplugVcpus>().empty());
}

}  // namespace
}  // namespace understudy::core

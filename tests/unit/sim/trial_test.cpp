// The check of "protected" finds lies: a claim that knows less than it should is planted, and the failure
// that is tried on a copy of the simulation shows it.
#include "sim/simulation.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::sim {
namespace {

namespace event = core::event;
using namespace std::chrono_literals;

// What was believed once: protected is whoever has a guest with room for it.
core::Protection room_for_it(const core::State& state, const core::Application& app) {
  core::Protection said;
  for (const core::GuestId id : state.setup.app(app.id).guests) {
    const auto place = app.place();
    if ((place && place->guest == id) || !core::why_not(state, app, state.guest(id)).empty()) continue;
    said.is_protected = true;
    said.standby = id;
  }
  return said;
}

bool all_ready(const Simulation& simulation) {
  const core::State& state = *simulation.state();
  return simulation.not_whole().empty() &&
         std::all_of(state.guests.begin(), state.guests.end(),
                     [](const core::Guest& guest) { return guest.ready() != nullptr; });
}

class Trial : public ::testing::Test {
 protected:
  // Everything up; then whatever `meanwhile` does; then alpha's failure is tried.
  void take_place(Shape shape, bool lie, const std::function<void(Simulation&)>& meanwhile = {}) {
    Simulation simulation(std::move(shape), 5);
    if (lie) simulation.told = room_for_it;
    simulation.start_daemon();
    simulation.command(event::BringUp{});
    ASSERT_TRUE(simulation.run_until([&] { return all_ready(simulation); }, 60s));
    if (meanwhile) meanwhile(simulation);
    const core::GuestId holder = simulation.state()->apps[0].serving()->on.guest;
    const Time before = simulation.world.now();
    simulation.check_protection(holder, FaultName::panic);
    EXPECT_EQ(simulation.world.now(), before) << "it happened to a copy";
    EXPECT_EQ(simulation.state()->guest(holder).believed_up(), true);
    found_ = simulation.violation() ? simulation.violation()->what : "";
    claims_ = simulation.trials.claims;
  }

  std::string found_;
  std::uint64_t claims_ = 0;
};

// Two applications on alpha, and beta's slots hold one of them.
Shape slots_for_one() {
  Shape shape = plain_shape(2, 2);
  shape.setup.guests[1].slots = 5;
  return shape;
}

Shape one_takeover_only() {
  Shape shape = plain_shape(2, 1);
  shape.setup.apps[0].flap_takeovers = 1;
  return shape;
}

void take_over(Simulation& simulation) {
  simulation.nemesis.cause(FaultName::panic, core::GuestId{0}, core::AppId{0});
  simulation.run_for(500ms);
  ASSERT_TRUE(simulation.run_until(
      [&] {
        return simulation.state()->guest(core::GuestId{0}).ready() != nullptr &&
               simulation.state()->apps[0].serving() != nullptr;
      },
      30s));
}

TEST_F(Trial, WhatIsProtectedIsFoundToBe) {
  take_place(plain_shape(2, 1), false);
  EXPECT_EQ(found_, "");
  EXPECT_EQ(claims_, 1U);
}

TEST_F(Trial, TwoThatFallTogether) {
  take_place(slots_for_one(), false);
  EXPECT_EQ(found_, "");
  EXPECT_EQ(claims_, 1U) << "only one of them is called protected";
  take_place(slots_for_one(), true);
  EXPECT_NE(found_.find("is called protected by beta, and after panic of alpha it serves nowhere"),
            std::string::npos)
      << found_;
}

TEST_F(Trial, AFlapLimitThatIsUsedUp) {
  take_place(one_takeover_only(), false, take_over);
  EXPECT_EQ(found_, "");
  EXPECT_EQ(claims_, 0U);
  take_place(one_takeover_only(), true, take_over);
  EXPECT_NE(found_.find("db is called protected"), std::string::npos) << found_;
}

TEST_F(Trial, AStandbyInMaintenance) {
  const auto maintenance = [](Simulation& simulation) {
    simulation.command(event::Maintenance{core::GuestId{1}, {}, 10min});
  };
  take_place(plain_shape(2, 1), false, maintenance);
  EXPECT_EQ(found_, "");
  EXPECT_EQ(claims_, 0U);
  take_place(plain_shape(2, 1), true, maintenance);
  EXPECT_NE(found_.find("db is called protected by beta"), std::string::npos) << found_;
}

}  // namespace
}  // namespace understudy::sim

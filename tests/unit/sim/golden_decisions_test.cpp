#include "../core/stage.hpp"
#include "sim/describe.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

// What the core decides in every situation of a list, under every fault of another, in plain English,
// compared with tests/golden/decisions.txt. A change of a decision is a change of that file, to be read in
// review. UNDERSTUDY_GOLDEN=write ctest -R golden   writes it anew.
namespace understudy::core {
namespace {

struct Situation {
  std::string text;
  std::function<Stage()> make;
};

struct Fault {
  std::string text;
  std::function<bool(Stage&)> strike;  // false: it cannot happen there
};

// A takeover of db from alpha to beta that has come as far as a request of this kind.
template <class Action>
Stage panicked_until() {
  Stage stage;
  stage.up();
  stage.hold<Action>();
  stage.give(event::GuestPanicked{stage.run("alpha")});
  stage.settle();
  return stage;
}

Event unrecoverable(const Stage& stage) {
  return event::AppFaulted{stage.run("alpha"), stage.app("db"), stage.epoch("db"), "killed by signal 11", ""};
}

template <class Action>
Stage app_failed_until() {
  Stage stage;
  stage.up();
  stage.hold<Action>();
  stage.give(unrecoverable(stage));
  stage.settle();
  return stage;
}

// db on alpha and web on beta, each guest the other's standby.
Stage mutual() {
  Setup setup = plain_setup(2, 2);
  std::reverse(setup.apps[1].guests.begin(), setup.apps[1].guests.end());
  Stage stage(setup);
  stage.up();
  return stage;
}

// db serves on alpha; a rehearsal of it on beta has come as far as a request of this kind.
template <class Action>
Stage rehearsed_until() {
  Setup setup = plain_setup();
  setup.pool.area_count += 4;
  Stage stage(with_rehearsals(setup));
  stage.up();
  stage.hold<Action>();
  stage.give(event::Rehearse{stage.app("db"), true});
  stage.settle();
  return stage;
}

std::vector<Situation> situations() {
  return {
      {"nothing is up yet, both guests boot",
       [] {
         Stage stage;
         stage.hold<action::Launch>();
         stage.give(event::BringUp{});
         stage.settle();
         return stage;
       }},
      {"db serves on alpha, beta stands by", [] { return std::move(Stage().up()); }},
      {"db serves on alpha, beta is coming back",
       [] {
         Stage stage;
         stage.up();
         stage.hold<action::Launch>();
         stage.give(event::GuestExited{stage.run("beta"), "killed by signal 9"});
         stage.settle();
         return stage;
       }},
      {"alpha panicked and is being fenced", panicked_until<action::Fence>},
      {"db goes to beta, which computes its need", panicked_until<action::AskNeed>},
      {"db's areas are being plugged into beta", panicked_until<action::Plug>},
      {"beta is confirming db's areas", panicked_until<action::AskEngage>},
      {"db is being started on beta", panicked_until<action::AskStart>},
      {"db failed on alpha, whose OS is letting its areas go", app_failed_until<action::AskRelease>},
      {"db failed on alpha, its areas are being unplugged", app_failed_until<action::Unplug>},
      {"db is being stopped on alpha for a switchover",
       [] {
         Stage stage;
         stage.up();
         stage.hold<action::AskStop>();
         stage.give(event::Switchover{stage.app("db"), {}});
         stage.settle();
         return stage;
       }},
      {"alpha's agent is silent, its kernel answers",
       [] {
         Stage stage;
         stage.up();
         stage.pass(std::chrono::milliseconds(900), {"alpha"});
         return stage;
       }},
      {"db serves on alpha and web on beta, each the other's standby", mutual},
      {"db serves on alpha, beta and gamma stand by",
       [] {
         Stage stage(plain_setup(3, 1));
         stage.up();
         return stage;
       }},
      {"db, which is not hot standby, serves on alpha",
       [] {
         Setup setup = plain_setup(2, 1);
         setup.apps[0].hot_standby = false;
         Stage stage(setup);
         stage.up();
         return stage;
       }},
      {"db and web both serve on alpha, there are areas for one of them alone on beta",
       [] {
         Setup setup = plain_setup(2, 2);
         setup.guests[1].slots = 4;
         setup.apps[1].priority = 1;
         Stage stage(setup);
         stage.up();
         return stage;
       }},
      {"db is rehearsed on beta, which computes its need", rehearsed_until<action::AskNeed>},
      {"db is rehearsed on beta, areas are being plugged", rehearsed_until<action::Plug>},
      {"db is rehearsed on beta, which is confirming areas", rehearsed_until<action::AskEngage>},
      {"db is rehearsed on beta and being started there in isolation", rehearsed_until<action::AskStart>},
      {"the rehearsal of db on beta is over, its areas are leaving", rehearsed_until<action::AskRelease>},
      {"db serves on alpha, which is in maintenance",
       [] {
         Stage stage;
         stage.up();
         stage.give(event::Maintenance{stage.guest("alpha"), {}, std::chrono::minutes(10)});
         return stage;
       }},
  };
}

bool has_process(const Stage& stage, const std::string& name) {
  const Guest& guest = stage.core.state().guest(stage.guest(name));
  return guest.believed_up() || guest.coming_up();
}

std::vector<Fault> faults() {
  const auto panics = [](const std::string& name) {
    return [name](Stage& stage) {
      if (!has_process(stage, name)) return false;
      stage.give(event::GuestPanicked{stage.run(name)});
      return true;
    };
  };
  const auto killed = [](const std::string& name) {
    return [name](Stage& stage) {
      if (!has_process(stage, name)) return false;
      stage.give(event::GuestExited{stage.run(name), "killed by signal 9"});
      return true;
    };
  };
  const auto is_rehearsed = [](const Stage& stage) {
    return stage.setup().apps.back().rehearses.has_value();
  };
  return {
      {"alpha's kernel panics", panics("alpha")},
      {"beta's kernel panics", panics("beta")},
      {"alpha's QEMU is killed", killed("alpha")},
      {"beta's QEMU is killed", killed("beta")},
      {"db fails for good",
       [](Stage& stage) {
         const auto* serving = stage.core.state().app(stage.app("db")).serving();
         if (serving == nullptr) return false;
         stage.give(
             event::AppFaulted{serving->on, stage.app("db"), stage.epoch("db"), "killed by signal 11", ""});
         return true;
       }},
      {"a late word of alpha's former life says that db serves there",
       [](Stage& stage) {
         stage.give(
             event::AppServing{GuestRun{stage.guest("alpha"), 0}, stage.app("db"), stage.epoch("db"), 0, {}});
         return true;
       }},
      {"the operator moves db to beta",
       [is_rehearsed](Stage& stage) {
         if (is_rehearsed(stage)) stage.give(event::Switchover{stage.app("db"), stage.guest("beta")});
         return is_rehearsed(stage);
       }},
      {"the operator brings everything down",
       [is_rehearsed](Stage& stage) {
         if (is_rehearsed(stage)) stage.give(event::BringDown{});
         return is_rehearsed(stage);
       }},
      {"db on alpha asks for more memory",
       [is_rehearsed](Stage& stage) {
         if (!is_rehearsed(stage)) return false;
         stage.give(event::AppWantsMemory{stage.run("alpha"), stage.app("db"), stage.epoch("db"), 128_MiB});
         return true;
       }},
      {"alpha is put into maintenance",
       [is_rehearsed](Stage& stage) {
         if (!is_rehearsed(stage)) return false;
         stage.give(event::Maintenance{stage.guest("alpha"), {}, std::chrono::minutes(10)});
         return true;
       }},
  };
}

// Where everything has come to when the world has answered whatever was asked.
std::string outcome(Stage& stage) {
  stage.hold_nothing();
  stage.settle();
  std::string text;
  for (const AppSetup& app : stage.setup().apps)
    text += (text.empty() ? "" : "; ") + app.name + " " + stage.where(app.name);
  for (const GuestSetup& guest : stage.setup().guests) {
    text +=
        "; " + guest.name + " " + stage.is(guest.name) + ", run " + std::to_string(stage.run(guest.name).run);
  }
  return text;
}

std::string decisions(std::size_t& count) {
  std::ostringstream out;
  out << "What the core decides. Written by tests/unit/sim/golden_decisions_test.cpp; a change here is a "
         "change of a\n"
         "decision. \"-\" lines are what it wants done, in the order in which the engine does it.\n";
  for (const Situation& situation : situations()) {
    out << "\n== " << situation.text << "\n";
    for (const Fault& fault : faults()) {
      Stage stage = situation.make();
      stage.forget();
      if (!fault.strike(stage)) continue;
      ++count;
      out << "\n" << fault.text << ":\n";
      const auto lines = sim::describe(stage.setup(), stage.out);
      if (lines.empty()) out << "  - nothing\n";
      for (const std::string& line : lines) out << "  - " << line << "\n";
      out << "  in the end: " << outcome(stage) << "\n";
    }
  }
  return out.str();
}

TEST(GoldenDecisions, AreThoseOfTheReviewedFile) {
  const std::string path = std::string(TEST_DATA_DIR) + "/../../golden/decisions.txt";
  std::size_t count = 0;
  const std::string now = decisions(count);
  EXPECT_GE(count, 60U);
  if (const char* mode = std::getenv("UNDERSTUDY_GOLDEN"); mode != nullptr && std::string(mode) == "write") {
    std::ofstream(path) << now;
  }
  std::ostringstream reviewed;
  reviewed << std::ifstream(path).rdbuf();
  EXPECT_EQ(now, reviewed.str()) << "read the difference; if it is meant: UNDERSTUDY_GOLDEN=write";
}

}  // namespace
}  // namespace understudy::core

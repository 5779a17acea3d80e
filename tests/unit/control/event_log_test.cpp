// A daemon that was started again knows what the former one knew: its events, its reports.
#include "control/event_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace understudy::control {
namespace {

using testing::HasSubstr;

class EventLogTest : public ::testing::Test {
 protected:
  EventLogTest() {
    core::GuestSetup guest;
    for (const char* name : {"alpha", "beta"}) {
      guest.name = name;
      setup_.guests.push_back(guest);
    }
    core::AppSetup app;
    for (const char* name : {"db", "web"}) {
      app.name = name;
      setup_.apps.push_back(app);
    }
    std::filesystem::create_directories(dir_);
  }
  ~EventLogTest() override { std::filesystem::remove_all(dir_); }

  [[nodiscard]] EventLog start() const {
    return {setup_, dir_ / "events.jsonl", dir_ / "reports", dir_ / "log"};
  }
  static void say(EventLog& log, const std::string& text) {
    log.notice(Time{}, {core::Severity::info, "drill", text, core::GuestId{1}, {}});
  }
  static core::TakeoverReport report(std::uint32_t app) {
    core::TakeoverReport report;
    report.app = core::AppId{app};
    report.cause = "kernel panic of alpha";
    report.from = core::GuestId{0};
    report.to = core::GuestId{1};
    report.epoch = 7;
    report.result = "serving";
    report.phases[0] = std::chrono::milliseconds(8);
    report.phases[6] = std::chrono::microseconds(1234);
    report.waited = std::chrono::seconds(1);
    report.attempts.push_back({core::GuestId{1}, std::chrono::seconds(3), "exit status 1; \"why\"\n"});
    report.attempts_in_vain = 1;
    report.in_vain = std::chrono::seconds(3);
    report.bytes_moved = 3_GiB;
    return report;
  }

  core::Setup setup_;
  std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("understudy-event-log-" + std::to_string(::getpid()));
};

TEST_F(EventLogTest, EventsOfTheFormerDaemonAreKnownAndNumbersGoOn) {
  {
    EventLog former = start();
    say(former, "one");
    say(former, "two");
  }
  EventLog log = start();
  ASSERT_EQ(log.lines().size(), 2U);
  EXPECT_THAT(log.lines()[1], HasSubstr("\"two\""));
  say(log, "three");
  EXPECT_THAT(log.lines()[2], HasSubstr("{\"number\":3,"));
}

TEST_F(EventLogTest, ATornLineCostsThatLineAlone) {
  {
    EventLog former = start();
    say(former, "one");
  }
  std::ofstream(dir_ / "events.jsonl", std::ios::app) << "{\"number\":2,\"ti";
  {
    EventLog log = start();
    ASSERT_EQ(log.lines().size(), 1U);
    say(log, "after");
  }
  EventLog next = start();
  ASSERT_EQ(next.lines().size(), 2U);
  EXPECT_THAT(next.lines()[1], HasSubstr("\"after\""));
}

TEST_F(EventLogTest, WhatIsNoEventIsPassedOver) {
  std::ofstream(dir_ / "events.jsonl")
      << "[1]\nnull\n{\"number\":\"x\"}\n\n{\"number\":41}\n{\"kind\":\"drill\"}\n";
  EventLog log = start();
  say(log, "next");
  EXPECT_THAT(log.lines().back(), HasSubstr("{\"number\":42,"));
}

TEST_F(EventLogTest, OfAVeryLongFileTheEndIsRead) {
  {
    std::ofstream file(dir_ / "events.jsonl");
    for (int i = 1; i <= 120'000; ++i)
      file << "{\"number\":" << i << ",\"kind\":\"drill\",\"text\":\"" << std::string(80, 'x') << "\"}\n";
  }
  EventLog log = start();
  EXPECT_EQ(log.lines().size(), 5000U);
  EXPECT_THAT(log.lines().back(), HasSubstr("{\"number\":120000,"));
}

TEST_F(EventLogTest, ReportsOfTheFormerDaemonAreKnown) {
  {
    EventLog former = start();
    EXPECT_EQ(former.last_report({}), nullptr);
    former.report(Time{}, report(1));
    former.report(Time{}, report(0));
  }
  const EventLog log = start();
  ASSERT_NE(log.last_report({}), nullptr);
  EXPECT_EQ(log.last_report({})->app, core::AppId{0}) << "the latest of all";
  const core::TakeoverReport* found = log.last_report(core::AppId{1});
  ASSERT_NE(found, nullptr);
  const core::TakeoverReport made = report(1);
  EXPECT_EQ(found->cause, made.cause);
  EXPECT_EQ(found->from, made.from);
  EXPECT_EQ(found->to, made.to);
  EXPECT_EQ(found->epoch, made.epoch);
  EXPECT_EQ(found->phases, made.phases);
  EXPECT_EQ(found->total(), made.total());
  EXPECT_EQ(found->attempts.at(0).why, made.attempts.at(0).why);
  EXPECT_EQ(found->bytes_moved, made.bytes_moved);
}

TEST_F(EventLogTest, ReportsOfWhatIsNotConfiguredAnyMoreOrOfSomebodyElseAreNone) {
  {
    EventLog former = start();
    former.report(Time{}, report(1));
  }
  setup_.apps.pop_back();
  EXPECT_EQ(start().last_report({}), nullptr);
  for (const char* nonsense : {"", "{", "[1]", "[{}]", "[{\"application\":\"db\"}]", "null"}) {
    std::ofstream(dir_ / "reports") << nonsense;
    EXPECT_EQ(start().last_report({}), nullptr) << nonsense;
  }
}

TEST_F(EventLogTest, AReportThatCannotBeWrittenIsKeptInMemory) {
  EventLog log(setup_, dir_ / "events.jsonl", dir_ / "there is no such directory" / "reports", dir_ / "log");
  log.report(Time{}, report(0));
  EXPECT_NE(log.last_report({}), nullptr);
}

}  // namespace
}  // namespace understudy::control

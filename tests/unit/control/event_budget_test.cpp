// What a guest can make us write and keep is bounded, whatever it says; what we do about it is told always.
#include "control/event_budget.hpp"

#include "../small_disk.hpp"
#include "base/bounded_file.hpp"
#include "control/event_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

namespace understudy::control {
namespace {

using core::GuestId;
using core::Notice;
using core::Severity;
using std::chrono::seconds;
using testing::HasSubstr;

Notice says(std::uint32_t guest, const char* kind = "agent-says") {
  return {Severity::info, kind, "a sentence", GuestId{guest}, {}};
}

core::Setup two_guests() {
  core::Setup setup;
  setup.guests.push_back({.name = "alpha"});
  setup.guests.push_back({.name = "beta"});
  return setup;
}

struct EventBudgetTest : ::testing::Test {
  int admitted(int times, const Notice& notice) {
    int count = 0;
    for (int i = 0; i < times; ++i) count += budget.admits(now, notice) ? 1 : 0;
    return count;
  }
  core::Setup setup = two_guests();
  EventBudget budget{setup};
  Time now{seconds(1000)};
};

TEST_F(EventBudgetTest, AFloodBecomesThirtyEventsAndOneThatCountsTheRest) {
  EXPECT_EQ(admitted(100'000, says(0)), 30);
  const auto told = budget.held_back(now);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].kind, "events-held-back");
  EXPECT_EQ(told[0].guest, GuestId{0});
  EXPECT_THAT(told[0].text,
              HasSubstr("alpha talks too much: 99970 more events were held back (agent-says 99970)"));
  EXPECT_TRUE(budget.held_back(now).empty()) << "told once";
}

TEST_F(EventBudgetTest, AnHourOfFloodIsABoundedNumberOfEvents) {
  std::size_t events = 0;
  for (int second = 0; second < 3600; ++second) {
    now += seconds(1);
    events += static_cast<std::size_t>(admitted(1000, says(0)));
    events += budget.held_back(now).size();
  }
  EXPECT_LE(events, 30U + 60U + 61U);
}

TEST_F(EventBudgetTest, AChattererHidesNeitherAnotherGuestNorAnotherKindNorWhatWeDo) {
  (void)admitted(1000, says(0));
  EXPECT_EQ(admitted(1, says(1)), 1);
  EXPECT_EQ(admitted(1, says(0, "guest-suspected")), 1);
  for (const char* kind : {"guest-panicked", "guest-fenced", "takeover-begun", "takeover-done"})
    EXPECT_EQ(admitted(1000, says(0, kind)), 1000) << kind;
}

TEST_F(EventBudgetTest, TheBudgetComesBack) {
  (void)admitted(1000, says(0));
  (void)budget.held_back(now);
  now += EventBudget::kOneMoreEach;
  EXPECT_EQ(admitted(5, says(0)), 1);
  EXPECT_THAT(budget.held_back(now).at(0).text, HasSubstr("4 more events were"));
  now += 100 * EventBudget::kOneMoreEach;
  EXPECT_EQ(admitted(1000, says(0)), 30);
}

class EventFiles : public ::testing::Test {
 protected:
  core::Setup setup_ = two_guests();
};

TEST_F(EventFiles, TenThousandEventsOfUsStayWithinTheirFilesAndAreFoundAgain) {
  std::string name = (std::filesystem::temp_directory_path() / "events-XXXXXX").string();
  const std::filesystem::path dir = ::mkdtemp(name.data());
  {
    EventLog log(setup_, dir / "events.jsonl", dir / "reports", dir / "log");
    for (int i = 0; i < 10'000; ++i) {
      log.notice(Time{}, {Severity::info, "takeover-done", std::string(1000, 'x'), GuestId{0}, {}});
      if (i % 1000 == 0) log.flush(seconds(30));
    }
  }
  std::uintmax_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) sum += entry.file_size();
  EXPECT_LE(sum, 2 * LineWriter::kMostEventBytes);
  const auto lines = last_lines(dir / "events.jsonl", 5000);
  EXPECT_EQ(lines.size(), 5000U);
  EXPECT_THAT(lines.back(), HasSubstr("\"number\":10000"));
  std::filesystem::remove_all(dir);
}

TEST_F(EventFiles, AFullDiskStopsTheFileAndNobodyElse) {
  SmallDisk disk("2m");
  if (!disk.works) GTEST_SKIP() << "only root may mount a disk to fill";
  EventLog log(setup_, disk.path / "events.jsonl", disk.path / "reports", disk.path / "log");
  disk.fill();
  int followed = 0;
  log.follow([&](const std::string&) { return ++followed > 0; });
  for (int i = 0; i < 100; ++i) log.notice(Time{}, says(0, "takeover-done"));
  log.flush(seconds(30));
  EXPECT_EQ(followed, 100);
  EXPECT_EQ(log.lines().size(), 100U);
  EXPECT_EQ(last_lines(disk.path / "events.jsonl", 1000).size(), 0U);
  disk.empty();
  log.notice(Time{}, says(0, "takeover-done"));
  log.flush(seconds(30));
  EXPECT_EQ(last_lines(disk.path / "events.jsonl", 1000).size(), 1U) << "written again when there is room";
}

}  // namespace
}  // namespace understudy::control

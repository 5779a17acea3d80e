// However much one guest causes, and of how many kinds, it pushes only its own events out.
#include "control/event_history.hpp"

#include "base/bounded_file.hpp"
#include "control/event_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <filesystem>
#include <set>

namespace understudy::control {
namespace {

using Origin = EventHistory::Origin;
using testing::ElementsAre;
using testing::HasSubstr;
using Lines = std::vector<std::string>;

constexpr std::size_t kUnbounded = 1UL << 40;

Origin any_origin() {
  return {*rc::gen::element<std::string>("", "alpha", "beta", "gamma"),
          *rc::gen::element<std::string>("", "db", "web"),
          *rc::gen::element<std::string>("drill", "agent-says", "guest-panicked", "takeover-done")};
}

Lines last(const Lines& lines, std::size_t most) {
  return {lines.end() - static_cast<std::ptrdiff_t>(std::min(most, lines.size())), lines.end()};
}

// Those of `lines` that `all` does not have.
Lines missing(const Lines& lines, const Lines& all) {
  const std::set<std::string> there(all.begin(), all.end());
  Lines gone;
  std::copy_if(lines.begin(), lines.end(), std::back_inserter(gone),
               [&](const std::string& line) { return there.count(line) == 0; });
  return gone;
}

TEST(EventHistoryTest, WhatOneGuestFloodsCostsNoOtherSourceItsShare) {
  EXPECT_TRUE(
      rc::check("no other source has less than its share, and of each stream the latest are there", [] {
        constexpr std::size_t kRoom = 240;
        constexpr std::size_t kSources = 6;   // three guests, two applications without a guest, the daemon
        constexpr std::size_t kStreams = 12;  // three applications or none, four kinds
        EventHistory history({kRoom, kUnbounded});
        std::map<std::string, Lines> of_source;
        std::map<std::string, Lines> of_stream;
        const int before = *rc::gen::inRange(0, 600);
        for (int i = 0; i < before; ++i) {
          const Origin origin = any_origin();
          const std::string line = "before " + std::to_string(i);
          history.add(origin, line);
          const std::string source = origin.guest.empty() ? "no guest, " + origin.application : origin.guest;
          of_source[source].push_back(line);
          of_stream[source + " " + origin.application + " " + origin.kind].push_back(line);
        }
        const int flood = *rc::gen::inRange(0, 1000);
        for (int i = 0; i < flood; ++i) {
          Origin origin = any_origin();
          origin.guest = "alpha";
          history.add(origin, "flood " + std::to_string(i));
        }
        const Lines lines = history.lines();
        for (const auto& [source, said] : of_source) {
          if (source == "alpha") continue;
          const std::size_t kept = said.size() - missing(said, lines).size();
          RC_ASSERT(kept >= std::min(said.size(), kRoom / kSources));
        }
        for (const auto& [stream, said] : of_stream) {
          if (stream.starts_with("alpha")) continue;
          RC_ASSERT(missing(last(said, kRoom / kSources / kStreams), lines).empty());
        }
      }));
}

TEST(EventHistoryTest, WhatAGuestFloodsOfOneKindCostsItsOtherKindsNothing) {
  EXPECT_TRUE(rc::check("the latest of every other kind and application are still there", [] {
    constexpr std::size_t kRoom = 120;
    constexpr std::size_t kStreams = 12;  // three applications or none, four kinds
    EventHistory history({kRoom, kUnbounded});
    std::map<std::string, Lines> said;  // by stream
    const int before = *rc::gen::inRange(0, 300);
    for (int i = 0; i < before; ++i) {
      Origin origin = any_origin();
      origin.guest = "alpha";
      const std::string line = "before " + std::to_string(i);
      history.add(origin, line);
      said[origin.application + " " + origin.kind].push_back(line);
    }
    const Origin talk{"alpha", *rc::gen::element<std::string>("", "db"), "agent-says"};
    const int flood = *rc::gen::inRange(0, 500);
    for (int i = 0; i < flood; ++i) history.add(talk, "flood " + std::to_string(i));
    const Lines lines = history.lines();
    for (const auto& [stream, of_it] : said) {
      if (stream != talk.application + " agent-says")
        RC_ASSERT(missing(last(of_it, kRoom / kStreams), lines).empty());
    }
  }));
}

TEST(EventHistoryTest, IsInOrderAndWithinBothBoundsAndHasTheLatest) {
  EXPECT_TRUE(rc::check("order and bounds", [] {
    const EventHistory::Size most{*rc::gen::inRange<std::size_t>(1, 40),
                                  *rc::gen::inRange<std::size_t>(50, 400)};
    EventHistory history(most);
    const int count = *rc::gen::inRange(1, 200);
    for (int i = 100; i < 100 + count; ++i)
      history.add(any_origin(), std::to_string(i) + std::string(*rc::gen::inRange<std::size_t>(0, 40), 'x'));
    const Lines lines = history.lines();
    std::size_t bytes = 0;
    for (const std::string& line : lines) bytes += line.size();
    RC_ASSERT(history.size().events == lines.size());
    RC_ASSERT(history.size().bytes == bytes);
    RC_ASSERT(lines.size() <= most.events);
    RC_ASSERT(bytes <= most.bytes);
    RC_ASSERT(std::is_sorted(lines.begin(), lines.end()));
    RC_ASSERT(!lines.empty());
  }));
}

TEST(EventHistoryTest, WhoIsAloneHasAllOfIt) {
  EventHistory history({3, kUnbounded});
  for (const char* line : {"1", "2", "3", "4", "5"}) history.add({"alpha", "", "agent-says"}, line);
  EXPECT_THAT(history.lines(), ElementsAre("3", "4", "5"));
}

TEST(EventHistoryTest, LongLinesAreCountedByTheirBytes) {
  EventHistory history({1000, 100});
  history.add({"beta", "", "drill"}, "short");
  for (int i = 0; i < 50; ++i) history.add({"alpha", "", "agent-says"}, std::string(40, 'x'));
  EXPECT_THAT(history.lines(), ElementsAre("short", std::string(40, 'x'), std::string(40, 'x')));
  history.add({"alpha", "", "agent-says"}, std::string(101, 'x'));
  EXPECT_THAT(history.lines(), ElementsAre("short")) << "one that is too long costs nobody else";
}

std::string event_line(int number, const char* guest, const char* kind, std::size_t length) {
  return "{\"number\":" + std::to_string(number) + ",\"kind\":\"" + kind + "\",\"guest\":\"" + guest +
         "\",\"text\":\"" + std::string(length, 'x') + "\"}";
}

TEST(EventHistoryTest, OfFilesThatStandThereTwiceOrHaveMoreThanEventsEachEventIsKeptOnce) {
  const std::string one = event_line(1, "alpha", "drill", 1);
  const std::string two = event_line(2, "alpha", "drill", 1);
  EXPECT_EQ(kept_of({one, "torn", "[1]", two, one, two}, 10'000), (Lines{one, two}));
  EXPECT_EQ(kept_of({one, two}, two.size() + 1), Lines{two}) << "a newline is a byte";
  EXPECT_TRUE(kept_of({one, two}, two.size()).empty());
}

class EventFilesOfAFlood : public ::testing::Test {
 protected:
  EventFilesOfAFlood() {
    for (const char* guest : {"alpha", "beta"}) setup_.guests.push_back({.name = guest});
    std::string name = (std::filesystem::temp_directory_path() / "event-flood-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
  }
  ~EventFilesOfAFlood() override { std::filesystem::remove_all(dir_); }

  // Events that have no budget.
  void panics(EventLog& log, int count) const {
    for (int i = 0; i < count; ++i) {
      log.notice(Time{},
                 {core::Severity::error, "guest-panicked", std::string(2000, 'x'), core::GuestId{0}, {}});
      if (i % 1000 == 999) log.flush(std::chrono::seconds(60));
    }
  }
  [[nodiscard]] EventLog start() const {
    return {setup_, dir_ / "events.jsonl", dir_ / "reports", dir_ / "log"};
  }

  core::Setup setup_;
  std::filesystem::path dir_;
};

TEST_F(EventFilesOfAFlood, AnotherGuestsEventOutlivesItInMemoryAndInTheFiles) {
  {
    EventLog log = start();
    log.notice(Time{}, {core::Severity::info, "drill", "beta's own", core::GuestId{1}, {}});
    panics(log, 10'000);
    EXPECT_THAT(log.lines().front(), HasSubstr("beta's own"));
    EXPECT_THAT(log.lines().back(), HasSubstr("\"number\":10001,"));
  }
  for (const char* file : {"events.jsonl", "events.jsonl.old"})
    EXPECT_LE(std::filesystem::file_size(dir_ / file), LineWriter::kMostEventBytes) << file;
  EXPECT_FALSE(std::filesystem::exists(BoundedFile::fresh_old_of(dir_ / "events.jsonl")));
  EventLog next = start();
  EXPECT_THAT(next.lines().front(), HasSubstr("beta's own")) << "a daemon later";
  EXPECT_THAT(next.lines().back(), HasSubstr("\"number\":10001,"));
}

TEST_F(EventFilesOfAFlood, ADaemonThatDiedWhileItBeganANewFileLeavesNoEventTwice) {
  {
    EventLog log = start();
    log.notice(Time{}, {core::Severity::info, "drill", "one", core::GuestId{1}, {}});
  }
  std::filesystem::copy_file(dir_ / "events.jsonl", BoundedFile::old_of(dir_ / "events.jsonl"));
  EXPECT_EQ(start().lines().size(), 1U);
}

}  // namespace
}  // namespace understudy::control

// The look at every process holds up nobody, not even when one of them never lets itself be read.
#include "qemu/process_scan.hpp"

#include "loop.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <optional>

namespace understudy::qemu {
namespace {

using testing::HasSubstr;
using Answer = Result<std::vector<FoundProcess>>;

TEST(ProcessScanTest, SaysWhatThereIs) {
  Loop loop;
  ProcessScan scan(loop.context, "/run/x", std::chrono::seconds(20), [](const auto& run_dir) {
    return std::vector<FoundProcess>{{42, {run_dir, "alpha", 7}}};
  });
  std::optional<Answer> answer;
  scan.look([&](Answer found) { answer = std::move(found); });
  EXPECT_FALSE(answer) << "not from inside the request";
  ASSERT_TRUE(loop.until([&] { return answer.has_value(); }));
  ASSERT_TRUE(*answer);
  EXPECT_EQ(answer->value().at(0).marker.guest, "alpha");
}

TEST(ProcessScanTest, AProcessThatHangsEndsTheLookAndNotTheLoop) {
  std::promise<void> lets_itself_be_read;
  const std::shared_future<void> read(lets_itself_be_read.get_future());
  Loop loop;
  ProcessScan scan(loop.context, "/run/x", std::chrono::milliseconds(50), [read](const auto&) {
    read.wait();
    return std::vector<FoundProcess>{};
  });
  std::optional<Answer> first;
  scan.look([&](Answer found) { first = std::move(found); });
  ASSERT_TRUE(loop.until([&] { return first.has_value(); }));
  ASSERT_FALSE(*first);
  EXPECT_THAT(first->error().message, HasSubstr("might still run"));
  std::optional<Answer> second;
  scan.look([&](Answer found) { second = std::move(found); });
  ASSERT_TRUE(loop.until([&] { return second.has_value(); }));
  EXPECT_FALSE(*second) << "one thread that hangs is enough";
  lets_itself_be_read.set_value();
  // It can be looked again.
  std::optional<Answer> third;
  while (!third || !*third) {
    third.reset();
    scan.look([&](Answer found) { third = std::move(found); });
    ASSERT_TRUE(loop.until([&] { return third.has_value(); }));
  }
}

TEST(ProcessScanTest, ManyWhoAskAtOnceAreAllAnswered) {
  Loop loop;
  ProcessScan scan(loop.context, "/run/x", std::chrono::seconds(20),
                   [](const auto&) { return std::vector<FoundProcess>{}; });
  int answered = 0;
  for (int i = 0; i < 64; ++i) scan.look([&](const Answer& found) { answered += found ? 1 : 0; });
  EXPECT_TRUE(loop.until([&] { return answered == 64; }));
}

TEST(ProcessScanTest, OneThatIsGoneAnswersNobody) {
  std::promise<void> lets_itself_be_read;
  const std::shared_future<void> read(lets_itself_be_read.get_future());
  std::promise<void> done;
  {
    Loop loop;
    ProcessScan scan(loop.context, "/run/x", std::chrono::seconds(20), [read, &done](const auto&) {
      read.wait();
      done.set_value();
      return std::vector<FoundProcess>{};
    });
    scan.look([](const Answer&) { FAIL(); });
  }
  lets_itself_be_read.set_value();
  done.get_future().wait();
}

}  // namespace
}  // namespace understudy::qemu

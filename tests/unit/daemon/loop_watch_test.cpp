// Whatever waits on the loop is measured and named; what does not, or was not let run, is no fault of the
// loop.
#include "daemon/loop_watch.hpp"

#include "base/background.hpp"
#include "base/doing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <future>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::daemon {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// As a disk or a process that does not answer: nothing comes on this pipe.
void wait_for_nothing(milliseconds limit) {
  std::array<int, 2> ends{-1, -1};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reading(ends[0]);
  const UniqueFd writing(ends[1]);
  pollfd wait{reading.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, static_cast<int>(limit.count())), 0);
}

void work_for(milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
  }
}

class LoopWatchTest : public ::testing::Test {
 protected:
  // The handlers, each in a turn of its own, and what the watch says of them. A turn is over when the loop
  // looks at the kernel again: one that does nothing comes last.
  std::vector<LoopWatch::Blocked> watched(const std::vector<std::function<void()>>& handlers) {
    boost::asio::io_context loop{1};
    std::vector<LoopWatch::Blocked> told;
    const LoopWatch watch([&](LoopWatch::Blocked blocked) { told.push_back(std::move(blocked)); });
    boost::asio::steady_timer timer(loop);
    std::size_t next = 0;
    std::function<void()> go_on = [&] {
      if (next > handlers.size()) return;
      timer.expires_after(milliseconds(1));
      timer.async_wait([&](auto) {
        if (next < handlers.size()) handlers[next]();
        ++next;
        go_on();
      });
    };
    go_on();
    loop.run();
    return told;
  }
};

TEST_F(LoopWatchTest, ALoopThatHasNothingToDoIsNotHeldUp) {
  const auto idle = [] {};
  EXPECT_TRUE(watched({idle, idle, idle, [] { work_for(milliseconds(1)); }, idle}).empty());
}

TEST_F(LoopWatchTest, WhatWaitsIsToldWithItsNameAndHowLong) {
  const auto told = watched({[] {
    const Doing doing("reading a disk");
    wait_for_nothing(milliseconds(40));
  }});
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].what, "reading a disk");
  EXPECT_GE(told[0].lasted, milliseconds(40));
}

TEST_F(LoopWatchTest, WhatWorksForLongIsToldAsWell) {
  const auto told = watched({[] {
    const Doing outer("a command");
    {
      const Doing doing("counting");
      work_for(milliseconds(200));  // processor time: of a busy machine it gets a part
    }
    const Doing other("writing it down");
  }});
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].what, "a command: counting");
}

TEST_F(LoopWatchTest, WithoutANameItIsToldAllTheSame) {
  const auto told = watched({[] { wait_for_nothing(milliseconds(30)); }});
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].what, "something without a name");
}

TEST_F(LoopWatchTest, TheJournalMayTakeLongerButNotAnyTime) {
  const auto journal = [](milliseconds takes) {
    return [takes] {
      const Doing step("a step");
      const Doing doing(Doing::kJournal);
      wait_for_nothing(takes);
    };
  };
  EXPECT_TRUE(watched({journal(milliseconds(30))}).empty());
  const auto told = watched({journal(milliseconds(120))});
  ASSERT_EQ(told.size(), 1U);
  EXPECT_THAT(told[0].what, HasSubstr("the journal"));
  const auto besides = watched({[] {
    {
      const Doing doing(Doing::kJournal);
      wait_for_nothing(milliseconds(20));
    }
    const Doing doing("what is not the journal");
    wait_for_nothing(milliseconds(30));
  }});
  ASSERT_EQ(besides.size(), 1U);
  EXPECT_EQ(besides[0].what, "what is not the journal");
}

TEST_F(LoopWatchTest, WhatIsDoneInTheBackgroundHoldsUpNobody) {
  std::promise<void> done;
  Background background;
  const auto told = watched({[&] {
    background.run([&] {
      wait_for_nothing(milliseconds(60));
      done.set_value();
    });
  }});
  EXPECT_TRUE(told.empty());
  done.get_future().wait();
}

TEST(BackgroundTest, TakesWhatItIsGivenInOrderAndWaitsForItAtTheEnd) {
  std::string order;
  {
    Background background;
    for (const char c : std::string("abcdef")) background.run([&order, c] { order += c; });
  }
  EXPECT_EQ(order, "abcdef");
}

}  // namespace
}  // namespace understudy::daemon

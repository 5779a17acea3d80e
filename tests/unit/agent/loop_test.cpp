#include "agent/loop.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;

class LoopTest : public testing::Test {
 protected:
  LoopTest() : loop(*Loop::create()) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    ours = UniqueFd(pair[0]);
    theirs = UniqueFd(pair[1]);
  }
  std::unique_ptr<Loop> loop;
  UniqueFd ours;
  UniqueFd theirs;
};

TEST_F(LoopTest, TimersFireInOrderOfTimeThenOfSetting) {
  std::string order;
  const auto a = loop->after(2ms, [&] { order += 'a'; });
  const auto b = loop->after(1ms, [&] { order += 'b'; });
  const Time same = Loop::now() + 3ms;
  const auto c = loop->at(same, [&] { order += 'c'; });
  const auto d = loop->at(same, [&] {
    order += 'd';
    loop->stop();
  });
  loop->run();
  EXPECT_EQ(order, "bacd");
}

TEST_F(LoopTest, ACancelledTimerNeverFires) {
  bool fired = false;
  auto timer = loop->after(1ms, [&] { fired = true; });
  const auto stop = loop->after(5ms, [&] { loop->stop(); });
  timer.reset();
  loop->run();
  EXPECT_FALSE(fired);
}

TEST_F(LoopTest, AHandlerMayReplaceItsOwnTimer) {
  int count = 0;
  Loop::Timer timer;
  std::function<void()> again = [&] {
    if (++count == 3) return loop->stop();
    timer = loop->after(1ms, again);
  };
  timer = loop->after(0ms, again);
  loop->run();
  EXPECT_EQ(count, 3);
}

TEST_F(LoopTest, AHandlerMayEndItsOwnWatch) {
  int calls = 0;
  Loop::Watch watch;
  watch = loop->watch(ours.get(), EPOLLIN, [&](std::uint32_t) {
    ++calls;
    watch.reset();
  });
  ASSERT_EQ(::write(theirs.get(), "x", 1), 1);
  for (int i = 0; i < 3; ++i) loop->run_once(1ms);
  EXPECT_EQ(calls, 1);
}

TEST_F(LoopTest, AWatchEndedByAnotherHandlerOfTheSameTurnIsNotCalled) {
  int calls = 0;
  Loop::Watch one;
  Loop::Watch other;
  const auto end_both = [&](std::uint32_t) {
    ++calls;
    one.reset();
    other.reset();
  };
  one = loop->watch(ours.get(), EPOLLIN, end_both);
  other = loop->watch(theirs.get(), EPOLLIN, end_both);
  ASSERT_EQ(::write(theirs.get(), "x", 1), 1);
  ASSERT_EQ(::write(ours.get(), "x", 1), 1);
  loop->run_once(10ms);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace understudy::agent

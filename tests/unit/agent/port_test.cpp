#include "agent/port.hpp"

#include "base/kernel_files.hpp"
#include "harness.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

namespace understudy::agent {
namespace {

using namespace std::chrono_literals;

class PortTest : public testing::Test {
 protected:
  PortTest() : loop(*Loop::create()) {}
  Port::Handlers handlers() {
    return {[this](std::string_view line) { lines.emplace_back(line); }, [this] { ++connects; },
            [this] { ++disconnects; }, [this] { ++oversized; }, [this] { ++drained; }};
  }
  void turn(int times = 10) {
    for (int i = 0; i < times; ++i) loop->run_once(2ms);
  }
  UniqueFd accept(const UniqueFd& listener) {
    return UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  }

  test::Directory files;
  std::unique_ptr<Loop> loop;
  std::vector<std::string> lines;
  int connects = 0;
  int disconnects = 0;
  int oversized = 0;
  int drained = 0;
};

TEST_F(PortTest, IsFoundByItsName) {
  files.write("vport1p1/name", "something.else\n");
  files.write("vport1p2/name", "org.understudy.agent.0\n");
  EXPECT_EQ(find_port("org.understudy.agent.0", files.path()), "/dev/vport1p2");
  EXPECT_EQ(find_port("org.understudy", files.path()), std::nullopt);
  EXPECT_EQ(find_port("x", files.path() + "/none"), std::nullopt);
}

TEST_F(PortTest, PassesLinesBothWaysAndSurvivesTheOtherEnd) {
  const std::string path = files.path() + "/port";
  const auto listener = test::listen_at(path);
  Port port(*loop, path, handlers());
  port.open();
  auto host = accept(listener);
  turn();
  EXPECT_EQ(connects, 1);
  ASSERT_EQ(::write(host.get(), "one\ntwo\nthr", 11), 11);
  turn();
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(port.send("answer\n"));
  char buffer[16];
  ASSERT_EQ(::read(host.get(), buffer, sizeof buffer), 7);
  host.reset();
  turn();
  EXPECT_EQ(disconnects, 1);
  EXPECT_FALSE(port.send("nobody hears this\n"));
  for (int i = 0; i < 10'000 && !host; ++i) {
    turn(1);
    host = accept(listener);
  }
  ASSERT_TRUE(host);
  turn();
  EXPECT_EQ(connects, 2);
  ASSERT_EQ(::write(host.get(), "ee\n", 3), 3);
  turn();
  EXPECT_EQ(lines.back(), "ee");  // not joined to what the former host left unfinished
}

TEST_F(PortTest, WaitsForAFileThatIsNotThereYet) {
  const std::string path = files.path() + "/port";
  Port port(*loop, path, handlers());
  port.open();
  turn();
  EXPECT_EQ(connects, 0);
  const auto listener = test::listen_at(path);
  port.look_again();
  const auto host = accept(listener);
  turn();
  EXPECT_EQ(connects, 1);
}

TEST_F(PortTest, WorksOnATerminal) {
  const UniqueFd host(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  ASSERT_EQ(::grantpt(host.get()), 0);
  ASSERT_EQ(::unlockpt(host.get()), 0);
  Port port(*loop, ::ptsname(host.get()), handlers());
  port.open();
  turn();
  ASSERT_EQ(::write(host.get(), "one\n", 4), 4);
  turn();
  EXPECT_EQ(lines, (std::vector<std::string>{"one"}));
  EXPECT_TRUE(port.send("two\n"));
  char buffer[16];
  ASSERT_EQ(::read(host.get(), buffer, sizeof buffer), 4);  // no echo, no carriage return
}

TEST_F(PortTest, AHostThatDoesNotReadCostsABoundedQueueAndIsCaughtUpWith) {
  const std::string path = files.path() + "/port";
  const auto listener = test::listen_at(path);
  Port port(*loop, path, handlers());
  port.open();
  const auto host = accept(listener);
  turn();
  const std::string line = std::string(8000, 'x') + "\n";
  std::size_t taken = 0;
  while (port.send(line)) ++taken;
  EXPECT_FALSE(port.idle());
  EXPECT_LT(taken * line.size(), Port::kMaxQueuedBytes + 4'000'000);
  EXPECT_EQ(drained, 0);
  std::string got;
  char buffer[65536];
  for (int i = 0; i < 1000 && drained == 0; ++i) {
    for (ssize_t n = 0; (n = ::read(host.get(), buffer, sizeof buffer)) > 0;) {
      got.append(buffer, static_cast<std::size_t>(n));
    }
    loop->run_once(1ms);
  }
  EXPECT_EQ(drained, 1);
  for (ssize_t n = 0; (n = ::read(host.get(), buffer, sizeof buffer)) > 0;)
    got.append(buffer, static_cast<std::size_t>(n));
  EXPECT_EQ(got.size(), taken * line.size());  // whole lines only
}

TEST_F(PortTest, TooLongALineIsDroppedAndTheNextIsRead) {
  const std::string path = files.path() + "/port";
  const auto listener = test::listen_at(path);
  Port port(*loop, path, handlers());
  port.open();
  const auto host = accept(listener);
  const std::string text = std::string(protocol::kMaxLineToAgent + 1, 'x') + "\nnext\n";
  std::size_t sent = 0;
  for (int i = 0; i < 1000 && sent < text.size(); ++i) {
    const ssize_t n = ::write(host.get(), text.data() + sent, text.size() - sent);
    if (n > 0) sent += static_cast<std::size_t>(n);
    loop->run_once(1ms);
  }
  turn();
  EXPECT_EQ(oversized, 1);
  EXPECT_EQ(lines, (std::vector<std::string>{"next"}));
}

}  // namespace
}  // namespace understudy::agent

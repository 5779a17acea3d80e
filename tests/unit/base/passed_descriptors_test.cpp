#include "base/passed_descriptors.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

namespace understudy {
namespace {

class PassedDescriptorsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    here = UniqueFd(ends[0]);
    there = UniqueFd(ends[1]);
  }
  std::string receive() {
    std::string text(64, '\0');
    const ssize_t count = receive_with_descriptors(there.get(), text.data(), text.size(), received);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    return text;
  }
  static bool same(int one, int other) {
    struct stat a {};
    struct stat b {};
    return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
  }
  UniqueFd here, there;
  std::vector<UniqueFd> received;
};

TEST_F(PassedDescriptorsTest, TheyComeWithTheirBytesAndAreClosedByExec) {
  const UniqueFd file(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(send_with_descriptor(here.get(), "one", file.get()), 3);
  ASSERT_EQ(::send(here.get(), "two", 3, 0), 3);
  std::string heard = receive();
  ASSERT_EQ(received.size(), 1U);
  EXPECT_TRUE(same(received[0].get(), file.get()));
  EXPECT_EQ(::fcntl(received[0].get(), F_GETFD), FD_CLOEXEC);
  while (heard.size() < 6) heard += receive();
  EXPECT_EQ(heard, "onetwo");
  EXPECT_EQ(received.size(), 1U);
}

TEST_F(PassedDescriptorsTest, NeitherSideWaits) {
  EXPECT_EQ(receive(), "");
  EXPECT_EQ(errno, EAGAIN);
  const std::string much(1 << 20, 'x');
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ssize_t sent = 0;
  for (int i = 0; i < 1000 && sent >= 0; ++i) sent = send_with_descriptor(here.get(), much, file.get());
  EXPECT_EQ(sent, -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(PassedDescriptorsTest, AnEndIsTold) {
  here.reset();
  char byte = 0;
  EXPECT_EQ(receive_with_descriptors(there.get(), &byte, 1, received), 0);
}

}  // namespace
}  // namespace understudy

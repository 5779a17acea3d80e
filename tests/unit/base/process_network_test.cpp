#include "base/process_network.hpp"

#include "../as_user.hpp"
#include "../process_with_network.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>

namespace understudy {
namespace {

using test::NetworkBy;

constexpr std::uint16_t kPort = 6379;

ino_t network_of_this_thread() {
  struct stat info {};
  return ::stat("/proc/thread-self/ns/net", &info) == 0 ? info.st_ino : 0;
}

ino_t inode_of(const Result<UniqueFd>& descriptor) {
  struct stat info {};
  return descriptor && ::fstat(descriptor->get(), &info) == 0 ? info.st_ino : 0;
}

// What is said there, or what stands in the way.
std::string hear(const ProcessNetwork& network, std::uint16_t port) {
  const auto socket = network.tcp_socket(AF_INET);
  if (!socket) return socket.error().message;
  ::fcntl(socket->get(), F_SETFL, 0);  // it waits
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return std::strerror(errno);
  char word = 0;
  return ::read(socket->get(), &word, 1) == 1 ? std::string(1, word) : "nothing";
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

class OtherNetworkTest : public testing::TestWithParam<NetworkBy> {
 protected:
  void SetUp() override {
    if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
  }
  const uid_t user = ::geteuid() == 0 && GetParam() == NetworkBy::its_user ? test::unused_uid() : ::geteuid();
  test::ProcessWithNetwork process{kPort, "a", user, GetParam()};
};

TEST(ProcessNetworkTest, OurOwnIsOurs) {
  const auto network = ProcessNetwork::of(::getpid());
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_TRUE(network->is_ours());
  EXPECT_EQ(inode_of(network->open("/proc/thread-self/ns/net")), network_of_this_thread());
}

TEST(ProcessNetworkTest, OfNobodyIsAnError) {
  const auto network = ProcessNetwork::of(0x3FFFFFFF);
  ASSERT_FALSE(network);
  EXPECT_EQ(network.error().message, "the network of process 1073741823: No such file or directory");
}

TEST_P(OtherNetworkTest, WhatIsMadeInItStaysInItAndWeComeBack) {
  const auto network = ProcessNetwork::of(process.pid());
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_FALSE(network->is_ours());
  const ino_t before = network_of_this_thread();
  const ino_t there = inode_of(network->open("/proc/thread-self/ns/net"));
  EXPECT_NE(there, 0U);
  EXPECT_NE(there, before);
  EXPECT_EQ(network_of_this_thread(), before);
  EXPECT_EQ(hear(*network, kPort), "a");
  EXPECT_EQ(hear(*network, kPort + 1), std::strerror(ECONNREFUSED));
}

TEST_P(OtherNetworkTest, ItIsNobodyElsesWhenTheProcessHasEnded) {
  const auto network = ProcessNetwork::of(process.pid());
  ASSERT_TRUE(network) << network.error().message;
  process.end();
  const test::ProcessWithNetwork another(kPort, "b", user, GetParam());
  ASSERT_TRUE(another.ready());
  EXPECT_EQ(hear(*network, kPort), std::strerror(ECONNREFUSED));
}

TEST_P(OtherNetworkTest, WhatCannotBeMadeIsSaid) {
  const auto network = ProcessNetwork::of(process.pid());
  ASSERT_TRUE(network) << network.error().message;
  const auto none = network->open("/proc/no/such/file");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, testing::HasSubstr(std::strerror(ENOENT)));
}

INSTANTIATE_TEST_SUITE_P(Made, OtherNetworkTest, testing::Values(NetworkBy::root, NetworkBy::its_user),
                         [](const auto& by) { return by.param == NetworkBy::root ? "byRoot" : "byItsUser"; });

// What the daemon and the gateway do: they have threads, children and much open, and none of that is touched.
TEST(UsersNetworkTest, ItsUserEntersItAndNothingOfIt) {
  test::as_user(test::unused_uid(), [] {
    const test::ProcessWithNetwork process(kPort, "a", ::geteuid(), NetworkBy::its_user);
    if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
    std::atomic<bool> stop = false;
    std::thread other([&] { stop.wait(false); });
    {
      const auto network = ProcessNetwork::of(process.pid());
      ASSERT_TRUE(network) << network.error().message;
      const std::size_t before = open_descriptors();
      for (int i = 0; i < 100; ++i) EXPECT_EQ(hear(*network, kPort), "a");
      EXPECT_EQ(open_descriptors(), before);
    }
    EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 1);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), 0) << "another child than that process";
    stop = true;
    stop.notify_all();
    other.join();
  });
}

// A gateway that is killed while somebody makes a socket for it.
TEST(UsersNetworkTest, WhoIsKilledWhileEnteringLeavesNobodyBehind) {
  test::as_user(test::unused_uid(), [] {
    test::ProcessWithNetwork process(kPort, "a", ::geteuid(), NetworkBy::its_user);
    if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
    const auto network = ProcessNetwork::of(process.pid());
    ASSERT_TRUE(network) << network.error().message;
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // whoever is left becomes our child
    std::array<int, 2> pipe{-1, -1};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    for (int i = 0; i < 30; ++i) {
      const pid_t child = ::fork();
      while (child == 0) {
        const auto socket = network->tcp_socket(AF_INET);
        if (!socket || ::write(pipe[1], "s", 1) != 1) ::_exit(1);
      }
      char made = 0;
      for (int n = 0; n <= i; ++n) ASSERT_EQ(::read(pipe[0], &made, 1), 1);
      ASSERT_EQ(::kill(child, SIGKILL), 0);
    }
    process.end();
    while (::waitpid(-1, nullptr, __WALL) > 0) {
    }
    EXPECT_EQ(errno, ECHILD) << "and this returned: everybody has ended";
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    ::close(pipe[0]);
    ::close(pipe[1]);
  });
}

TEST(UsersNetworkTest, AnotherUserCannotEnterIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be two users";
  const uid_t uid = test::unused_uid();
  const test::ProcessWithNetwork process(kPort, "a", uid, NetworkBy::its_user);
  if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
  const auto network = ProcessNetwork::of(process.pid());
  ASSERT_TRUE(network) << network.error().message;
  test::as_user(uid + 1, [&] {
    EXPECT_THAT(hear(*network, kPort), testing::HasSubstr(std::strerror(EPERM))) << "by a descriptor";
    const auto by_number = ProcessNetwork::of(process.pid());
    ASSERT_TRUE(by_number) << by_number.error().message;
    EXPECT_TRUE(by_number->is_ours());
  });
}

// A QEMU that was taken over by its guest: it has the daemon's user, and no capability.
TEST(UsersNetworkTest, WhoIsInOneCanNeitherEnterAnotherNorLookAtWhoIsOutside) {
  test::as_user(test::unused_uid(), [] {
    const test::ProcessWithNetwork process(kPort, "a", ::geteuid(), NetworkBy::its_user);
    if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
    const auto network = ProcessNetwork::of(process.pid());
    ASSERT_TRUE(network) << network.error().message;
    const std::string outside = "/proc/" + std::to_string(::getpid()) + "/environ";
    EXPECT_EQ(::access(outside.c_str(), R_OK), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
      const std::array<__user_cap_data_struct, 2> none{};
      if (!take_own_network() || ::syscall(SYS_capset, &header, none.data()) != 0) ::_exit(10);
      if (::open(outside.c_str(), O_RDONLY | O_CLOEXEC) >= 0) ::_exit(11);
      ::_exit(network->tcp_socket(AF_INET) ? 12 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 0);
  });
}

}  // namespace
}  // namespace understudy

#include "base/process_network.hpp"

#include "../process_with_network.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

namespace understudy {
namespace {

constexpr std::uint16_t kPort = 6379;

ino_t network_of_this_thread() {
  struct stat info {};
  return ::stat("/proc/thread-self/ns/net", &info) == 0 ? info.st_ino : 0;
}

// What is said there, or what stands in the way.
std::string hear(const ProcessNetwork& network, std::uint16_t port) {
  UniqueFd socket;
  const auto entered =
      network.within([&] { socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
  if (!entered) return entered.error().message;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return std::strerror(errno);
  char word = 0;
  return ::read(socket.get(), &word, 1) == 1 ? std::string(1, word) : "nothing";
}

class OtherNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
  }
  test::ProcessWithNetwork process{kPort, "a"};
};

TEST(ProcessNetworkTest, OurOwnIsOurs) {
  const auto network = ProcessNetwork::of(::getpid());
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_TRUE(network->is_ours());
  bool ran = false;
  EXPECT_TRUE(network->within([&] { ran = true; }));
  EXPECT_TRUE(ran);
}

TEST(ProcessNetworkTest, OfNobodyIsAnError) {
  const auto network = ProcessNetwork::of(0x3FFFFFFF);
  ASSERT_FALSE(network);
  EXPECT_EQ(network.error().message, "the network of process 1073741823: No such file or directory");
}

TEST_F(OtherNetworkTest, WhatIsMadeInItStaysInItAndWeComeBack) {
  const auto network = ProcessNetwork::of(process.pid());
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_FALSE(network->is_ours());
  const ino_t before = network_of_this_thread();
  ino_t there = 0, of_another_thread = 0;
  ASSERT_TRUE(network->within([&] {
    there = network_of_this_thread();
    std::thread([&] { of_another_thread = network_of_this_thread(); }).join();
  }));
  EXPECT_NE(there, before);
  EXPECT_EQ(network_of_this_thread(), before);
  EXPECT_EQ(hear(*network, kPort), "a");
  EXPECT_EQ(hear(*network, kPort + 1), std::strerror(ECONNREFUSED));
}

TEST_F(OtherNetworkTest, ItIsNobodyElsesWhenTheProcessHasEnded) {
  const auto network = ProcessNetwork::of(process.pid());
  ASSERT_TRUE(network) << network.error().message;
  process.end();
  const test::ProcessWithNetwork another(kPort, "b");
  ASSERT_TRUE(another.ready());
  EXPECT_EQ(hear(*network, kPort), std::strerror(ECONNREFUSED));
}

}  // namespace
}  // namespace understudy

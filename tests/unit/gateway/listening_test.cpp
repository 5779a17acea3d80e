#include "gateway/listening.hpp"

#include "../as_user.hpp"
#include "../process_with_network.hpp"
#include "base/unique_fd.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

namespace understudy::gateway {
namespace {

constexpr std::string_view kTable =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65536        0 1 1 0 100 0\n"
    "   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0\n"
    "   2: 0200007F:18EC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 3 1 0 100 0\n"
    "   3: 0100007F:18ED 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4 1 0 100 0\n"
    "   4: 0100007F:18EE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 5 1 0 100 "
    "0\n";

TEST(Listening, TellsTheUserOfTheSocketThatListensThere) {
  EXPECT_EQ(who_listens(6379, kTable), 65536U);
  EXPECT_EQ(who_listens(22, kTable), 0U) << "on every address";
  EXPECT_EQ(who_listens(6380, kTable), std::nullopt) << "on another";
  EXPECT_EQ(who_listens(6381, kTable), std::nullopt) << "it is connected, and does not listen";
  EXPECT_EQ(who_listens(6382, kTable), std::nullopt) << "listening ones come first";
  EXPECT_EQ(who_listens(1, kTable), std::nullopt);
}

TEST(Listening, IsNotConfusedByWhatItDoesNotKnow) {
  for (const std::string_view table : {"", "\n\n", "garbage", "0: 0100007F 0 0A 0 0 0 7",
                                       "0: :18EB 0 0A 0 0 0 7", "0: 0100007F:zz 0 0A 0 0 0 7"})
    EXPECT_EQ(who_listens(6379, table), std::nullopt) << table;
}

TEST(Listening, OfThisHostItKnowsOurOwn) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_EQ(who_listens({}, ntohs(address.sin_port)), std::nullopt);
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  EXPECT_EQ(who_listens({}, ntohs(address.sin_port)), ::geteuid());
}

TEST(Listening, OfAnotherNetworkItKnowsWhoIsThere) {
  using understudy::test::NetworkBy;
  for (const NetworkBy by : {NetworkBy::root, NetworkBy::its_user}) {
    const understudy::test::ProcessWithNetwork process(6379, "", 4711, by);
    if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
    const auto network = ProcessNetwork::of(process.pid());
    ASSERT_TRUE(network) << network.error().message;
    EXPECT_EQ(who_listens(*network, 6379), 4711U);
    EXPECT_EQ(who_listens(*network, 6380), std::nullopt);
  }
}

// In a user namespace users may have other numbers.
TEST(Listening, OfAnOrdinaryUsersNetworkItKnowsHim) {
  using namespace understudy::test;
  as_user(unused_uid(), [] {
    const ProcessWithNetwork process(6379, "", ::geteuid(), NetworkBy::its_user);
    if (!process.ready()) GTEST_SKIP() << "this user may not make networks";
    const auto network = ProcessNetwork::of(process.pid());
    ASSERT_TRUE(network) << network.error().message;
    EXPECT_EQ(who_listens(*network, 6379), ::geteuid());
  });
}

// More of them than one read brings.
TEST(Listening, ItIsFoundBehindManyOthers) {
  std::vector<UniqueFd> sockets;
  std::uint16_t port = 0;
  for (int i = 0; i < 200; ++i) {
    sockets.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(sockets.back().get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::getsockname(sockets.back().get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    ASSERT_EQ(::listen(sockets.back().get(), 1), 0);
    port = ntohs(address.sin_port);
    EXPECT_EQ(who_listens({}, port), ::geteuid());
  }
}

}  // namespace
}  // namespace understudy::gateway

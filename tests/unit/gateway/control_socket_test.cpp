// The control socket, by hand.
#include "gateway/limits.hpp"
#include "gateway_client_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <string>
#include <vector>

namespace understudy::gateway {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

class ControlSocketTest : public GatewayClientTest {
 protected:
  void SetUp() override {
    client_ = start();
    ASSERT_TRUE(client_);
  }
  Stream open() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (directory_.path() / "gateway.sock").string();
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return Stream(std::move(fd));
  }
  static std::string line_of(const Stream& stream) {
    std::string line;
    while (line.empty() || line.back() != '\n') {
      const std::string byte = stream.receive(1);
      if (byte.empty()) break;
      line += byte;
    }
    return line;
  }

  std::unique_ptr<GatewayClient> client_;
};

TEST_F(ControlSocketTest, IsForItsOwnerAlone) {
  struct stat info {};
  ASSERT_EQ(::stat((directory_.path() / "gateway.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(ControlSocketTest, GarbageIsAnsweredAndTheNextRequestServed) {
  const Stream control = open();
  ASSERT_TRUE(
      control.send("garbage\n\n{\"v\":1,\"id\":5,\"op\":\"dance\"}\n{\"v\":1,\"id\":6,\"op\":\"status\"}\n"));
  EXPECT_EQ(line_of(control),
            "{\"v\":1,\"id\":0,\"ok\":false,\"error\":\"the line is not a JSON object\"}\n");
  EXPECT_EQ(line_of(control),
            "{\"v\":1,\"id\":0,\"ok\":false,\"error\":\"the line is not a JSON object\"}\n");
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":5,\"ok\":false,\"error\":\"\\\"op\\\" has to be listen,"));
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":6,\"ok\":true"));
}

TEST_F(ControlSocketTest, ALineWithoutAnEndIsRefused) {
  const Stream control = open();
  (void)control.send(std::string(kLongestRequest + 5000, 'x'));
  EXPECT_THAT(line_of(control), HasSubstr("the line is longer than"));
  EXPECT_NE(control.ending(), EAGAIN);
  EXPECT_TRUE(client_->status().has_value());
}

TEST_F(ControlSocketTest, ALineOfExactlyTheLimitIsRead) {
  const Stream control = open();
  const std::string request = request_line(8, request::Status{});
  ASSERT_TRUE(control.send(request + std::string(kLongestRequest - request.size(), ' ') + "\n"));
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":8,\"ok\":true"));
  ASSERT_TRUE(control.send(request + std::string(kLongestRequest - request.size() + 1, ' ') + "\n"));
  EXPECT_THAT(line_of(control), HasSubstr("the line is longer than 16384 bytes"));
  EXPECT_NE(control.ending(), EAGAIN);
}

TEST_F(ControlSocketTest, OnlySoManySessionsAtOnce) {
  const std::string request = request_line(8, request::Status{}) + "\n";
  std::vector<Stream> sessions;  // and the client's own
  for (std::size_t i = 1; i < kMostSessions; ++i) {
    sessions.push_back(open());
    ASSERT_TRUE(sessions.back().send(request));
    EXPECT_THAT(line_of(sessions.back()), HasSubstr("\"id\":8,\"ok\":true"));
  }
  const Stream one_more = open();
  EXPECT_NE(one_more.ending(), EAGAIN) << "it was kept";
  EXPECT_TRUE(client_->status().has_value());
}

TEST_F(ControlSocketTest, WhoDoesNotReadHisAnswersIsDropped) {
  const Stream control = open();
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += "{\"v\":1,\"id\":1,\"op\":\"status\"}\n";
  bool taken = true;
  for (int i = 0; taken && i < 1000; ++i) taken = control.send(requests);
  EXPECT_FALSE(taken);
  EXPECT_TRUE(client_->status().has_value());
}

TEST_F(ControlSocketTest, RequestsMayComeInPieces) {
  const Stream control = open();
  const std::string request = request_line(8, request::Status{}) + "\n";
  for (const char c : request) ASSERT_TRUE(control.send(std::string(1, c)));
  EXPECT_THAT(line_of(control), HasSubstr("\"id\":8,\"ok\":true"));
}

}  // namespace
}  // namespace understudy::gateway

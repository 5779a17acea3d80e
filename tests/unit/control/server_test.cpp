#include "control/server.hpp"

#include "control/client.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace understudy::control {
namespace {

// A server on a loop of its own thread, as in the daemon; clients block, as on the command line.
class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    std::string name = (std::filesystem::temp_directory_path() / "control-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
    setup_.guests.push_back({.name = "alpha"});
    log_ = std::make_unique<EventLog>(setup_, dir_ / "events.jsonl", dir_ / "reports");
    auto server =
        Server::create(loop_, socket(), *log_, [](const Command& command) -> Result<boost::json::value> {
          if (std::holds_alternative<command::Status>(command)) return boost::json::value("fine");
          return failure("not today");
        });
    if (server) server_ = std::move(*server);
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~ServerTest() override {
    boost::asio::post(loop_, [this] { server_.reset(); });
    loop_.stop();
    thread_.join();
    std::filesystem::remove_all(dir_);
  }
  std::filesystem::path socket() const { return dir_ / "control.sock"; }
  void notice(const std::string& kind) {
    boost::asio::post(loop_, [this, kind] {
      log_->notice(Time{}, {core::Severity::info, kind, "a sentence", core::GuestId{0}, {}});
    });
  }

  std::filesystem::path dir_;
  core::Setup setup_;
  boost::asio::io_context loop_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

TEST_F(ServerTest, AnswersAndRefuses) {
  auto client = Client::connect(socket());
  ASSERT_TRUE(client);
  const auto fine = client->ask(command::Status{});
  ASSERT_TRUE(fine);
  EXPECT_EQ(fine->as_string(), "fine");
  const auto refused = client->ask(command::Table{});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "not today");
}

TEST_F(ServerTest, TheSocketIsForItsOwnerAlone) {
  EXPECT_EQ(std::filesystem::status(socket()).permissions() & std::filesystem::perms::mask,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(ServerTest, AFollowerSeesWhatWasAndWhatComes) {
  notice("before");
  auto client = Client::connect(socket());
  ASSERT_TRUE(client);
  std::vector<std::string> kinds;
  const auto done = client->events(true, [&](const boost::json::object& event) {
    kinds.emplace_back(event.at("kind").as_string());
    EXPECT_EQ(event.at("guest").as_string(), "alpha");
    if (kinds.size() == 1) notice("after");
    return kinds.size() < 2;
  });
  EXPECT_TRUE(done);
  EXPECT_EQ(kinds, (std::vector<std::string>{"before", "after"}));
}

TEST_F(ServerTest, ARequestWithoutEndIsRefused) {
  boost::asio::io_context io;
  boost::asio::local::stream_protocol::socket raw(io);
  raw.connect(socket().string());
  const std::string endless(kLongestRequestBytes + 1, 'x');
  boost::asio::write(raw, boost::asio::buffer(endless));
  std::string answer;
  boost::system::error_code error;
  boost::asio::read(raw, boost::asio::dynamic_buffer(answer), error);
  EXPECT_NE(answer.find("longer than"), std::string::npos) << answer;
}

TEST_F(ServerTest, ARequestOfExactlyTheLimitIsServed) {
  boost::asio::io_context io;
  boost::asio::local::stream_protocol::socket raw(io);
  raw.connect(socket().string());
  std::string request = encode(command::Status{});
  request += std::string(kLongestRequestBytes - 1 - request.size(), ' ') + "\n";
  boost::asio::write(raw, boost::asio::buffer(request));
  std::string answer;
  boost::asio::read_until(raw, boost::asio::dynamic_buffer(answer), '\n');
  EXPECT_EQ(answer, "{\"ok\":true,\"result\":\"fine\"}\n");
}

TEST_F(ServerTest, AFollowerThatDoesNotReadIsCutOff) {
  boost::asio::io_context io;
  boost::asio::local::stream_protocol::socket raw(io);
  raw.connect(socket().string());
  boost::asio::write(raw, boost::asio::buffer(encode(command::Events{true}) + "\n"));
  notice("first");
  std::string received;
  boost::asio::read_until(raw, boost::asio::dynamic_buffer(received), '\n');
  constexpr int kMore = 15'000;  // than the 10'000 that wait for it, and what fits the socket
  for (int i = 0; i < kMore; ++i) notice("more");
  boost::system::error_code error;
  boost::asio::read(raw, boost::asio::dynamic_buffer(received), error);
  EXPECT_EQ(error, boost::asio::error::eof);
  EXPECT_LT(std::count(received.begin(), received.end(), '\n'), kMore);
  auto client = Client::connect(socket());
  ASSERT_TRUE(client);
  EXPECT_TRUE(client->ask(command::Status{})) << "the server goes on";
}

TEST_F(ServerTest, NobodyListeningIsSaidWithWhatToDo) {
  const auto client = Client::connect(dir_ / "nothing.sock");
  ASSERT_FALSE(client);
  EXPECT_NE(client.error().message.find("understudy up"), std::string::npos);
}

}  // namespace
}  // namespace understudy::control

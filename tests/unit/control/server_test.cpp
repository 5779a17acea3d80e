#include "control/server.hpp"

#include "base/descriptors.hpp"
#include "base/unique_fd.hpp"
#include "control/client.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
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
    log_ = std::make_unique<EventLog>(setup_, dir_ / "events.jsonl", dir_ / "reports", dir_ / "log");
    server_ = make_server({});
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~ServerTest() override {
    boost::asio::post(loop_, [this] { server_.reset(); });
    loop_.stop();
    thread_.join();
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<Server> make_server(Server::Limits limits) {
    auto server = Server::create(
        loop_, socket(), *log_,
        [](const Command& command) -> Result<boost::json::value> {
          if (std::holds_alternative<command::Status>(command)) return boost::json::value("fine");
          return failure("not today");
        },
        limits);
    return server ? std::move(*server) : nullptr;
  }
  // The same with other limits.
  void restart(Server::Limits limits) {
    std::promise<void> done;
    boost::asio::post(loop_, [&] {
      server_.reset();
      server_ = make_server(limits);
      done.set_value();
    });
    done.get_future().wait();
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

// A server that has no room says so at once and closes: what is to be asked is asked too late.
TEST(Client, HearsWhyItWasRefusedBeforeItAsked) {
  std::string name = (std::filesystem::temp_directory_path() / "control-XXXXXX").string();
  const std::filesystem::path dir = ::mkdtemp(name.data());
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (dir / "s").native().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  auto client = Client::connect(dir / "s");
  ASSERT_TRUE(client) << client.error().message;
  UniqueFd session(::accept(listener.get(), nullptr, nullptr));
  const std::string refusal = R"({"error":"there is no room"})"
                              "\n";
  ASSERT_EQ(::send(session.get(), refusal.data(), refusal.size(), 0), static_cast<ssize_t>(refusal.size()));
  session.reset();
  const auto answer = client->ask(command::Status{});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().message, "there is no room");
  std::filesystem::remove_all(dir);
}

// ---- strangers in numbers ----

class CrowdedServer : public ServerTest {
 protected:
  CrowdedServer() { ::getrlimit(RLIMIT_NOFILE, &before_); }
  ~CrowdedServer() override { ::setrlimit(RLIMIT_NOFILE, &before_); }

  void descriptors(int count) const {
    const rlimit few{static_cast<rlim_t>(count), before_.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  // A socket that is not connected yet: made while there still are descriptors.
  static UniqueFd unconnected() { return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
  void connect(const UniqueFd& fd) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket().string().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  // The server's threads have nothing to do. Until then an accept() that finds nobody has a number for a
  // moment.
  static void until_the_others_sleep() {
    const auto sleeps = [](const std::filesystem::path& task) {
      std::string stat;
      std::getline(std::ifstream(task / "stat"), stat);
      return stat.substr(stat.rfind(')') + 1, 3) == " S ";
    };
    const std::string self = std::to_string(::gettid());
    for (bool all = false; !all; std::this_thread::yield()) {
      all = true;
      for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
        all = all && (task.path().filename() == self || sleeps(task.path()));
    }
  }
  // So that the next descriptor of this process has a number above this one, whoever opens it.
  static std::vector<UniqueFd> without_holes_below(const UniqueFd& highest) {
    until_the_others_sleep();
    std::vector<UniqueFd> held;
    while (true) {
      UniqueFd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (next.get() < 0 || next.get() > highest.get()) return held;
      held.push_back(std::move(next));
    }
  }
  // Connected and answered: the server's thread has opened what it needs. To be kept for the test's time.
  [[nodiscard]] UniqueFd first_of_all() const {
    UniqueFd fd = unconnected();
    connect(fd);
    ask(fd);
    EXPECT_THAT(heard(fd, kLong), testing::HasSubstr("fine"));
    return fd;
  }
  static void ask(const UniqueFd& fd) {
    const std::string line = encode(command::Status{}) + "\n";
    ASSERT_EQ(::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL), static_cast<ssize_t>(line.size()));
  }
  // What comes until the end, or within the limit.
  static std::string heard(const UniqueFd& fd, std::chrono::milliseconds limit) {
    std::string text;
    pollfd wait{fd.get(), POLLIN, 0};
    while (text.find('\n') == std::string::npos && ::poll(&wait, 1, static_cast<int>(limit.count())) > 0) {
      char chunk[4096];
      const ssize_t got = ::recv(fd.get(), chunk, sizeof chunk, 0);
      if (got <= 0) return text + "(end)";
      text.append(chunk, static_cast<std::size_t>(got));
    }
    return text;
  }
  static std::chrono::microseconds processor_time() {
    rusage use{};
    ::getrusage(RUSAGE_SELF, &use);
    return std::chrono::seconds(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           std::chrono::microseconds(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
  }

  static constexpr auto kLong = std::chrono::seconds(20);
  rlimit before_{};
};

TEST_F(CrowdedServer, OutOfDescriptorsItDoesNotSpinAndAnswersWhenThereAreSome) {
  const UniqueFd first = first_of_all();
  const UniqueFd client = unconnected();
  const auto held = without_holes_below(client);
  descriptors(client.get() + 1);
  connect(client);
  ask(client);
  const auto used = processor_time();
  EXPECT_EQ(heard(client, std::chrono::milliseconds(1000)), "");
  EXPECT_LT(processor_time() - used, std::chrono::milliseconds(200)) << "of one second";
  ::setrlimit(RLIMIT_NOFILE, &before_);
  EXPECT_THAT(heard(client, kLong), testing::HasSubstr("fine"));
}

TEST_F(CrowdedServer, TheLastDescriptorsAreNotForConnections) {
  const UniqueFd first = first_of_all();
  const UniqueFd client = unconnected();
  const auto held = without_holes_below(client);
  descriptors(client.get() + static_cast<int>(kReservedDescriptors));
  connect(client);
  EXPECT_THAT(heard(client, kLong), testing::HasSubstr("no descriptors to spare"));
  ::setrlimit(RLIMIT_NOFILE, &before_);
  const UniqueFd next = unconnected();
  connect(next);
  ask(next);
  EXPECT_THAT(heard(next, kLong), testing::HasSubstr("fine"));
}

TEST_F(CrowdedServer, MoreThanTheMostAreToldSoAndOneThatLeavesMakesRoom) {
  std::vector<UniqueFd> clients;
  for (std::size_t i = 0; i < Server::kMostSessions; ++i) {
    clients.push_back(unconnected());
    connect(clients.back());
    ask(clients.back());
    ASSERT_THAT(heard(clients.back(), kLong), testing::HasSubstr("fine"));
  }
  const UniqueFd refused = unconnected();
  connect(refused);
  EXPECT_THAT(heard(refused, kLong), testing::HasSubstr("64 connections already"));
  clients.pop_back();
  std::string answer;
  while (answer.find("fine") == std::string::npos) {  // until the server has seen that it left
    const UniqueFd client = unconnected();
    connect(client);
    ask(client);
    answer = heard(client, kLong);
    ASSERT_FALSE(answer.empty());
  }
}

TEST_F(CrowdedServer, WhoSaysNothingOrDoesNotReadIsEndedAndWhoFollowsIsNot) {
  restart({.idle = std::chrono::milliseconds(1000)});
  const UniqueFd silent = unconnected();
  connect(silent);
  const UniqueFd follower = unconnected();
  connect(follower);
  const std::string follow = encode(command::Events{true}) + "\n";
  ASSERT_GT(::send(follower.get(), follow.data(), follow.size(), MSG_NOSIGNAL), 0);
  const UniqueFd deaf = unconnected();  // asks and asks, and never reads
  connect(deaf);
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += encode(command::Status{}) + "\n";
  std::size_t sent = 0;
  for (ssize_t put = 0; sent < many.size(); sent += static_cast<std::size_t>(put)) {
    put = ::send(deaf.get(), many.data() + sent, many.size() - sent, MSG_NOSIGNAL);
    if (put < 0) break;  // ended
  }
  EXPECT_LT(sent, many.size()) << "all of its requests were taken, with their answers in memory";
  EXPECT_EQ(heard(silent, kLong), "(end)");
  notice("after a while");
  EXPECT_THAT(heard(follower, kLong), testing::HasSubstr("after a while"));
}

}  // namespace
}  // namespace understudy::control

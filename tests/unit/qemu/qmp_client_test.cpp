#include "qemu/qmp_client.hpp"

#include "loop.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <deque>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace understudy::qemu {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using asio::local::stream_protocol;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Duration kLong = std::chrono::seconds(10);

// A QMP server that answers as the test says. `on_command` gets each command in order.
class FakeServer {
 public:
  FakeServer(asio::io_context& loop, const std::filesystem::path& path)
      : acceptor_(loop, stream_protocol::endpoint(path.string())), socket_(loop) {
    acceptor_.async_accept(socket_, [this](auto error) {
      if (error) return;
      if (greets) say(R"({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}}})");
      read();
    });
  }
  void say(const std::string& line) {
    boost::system::error_code ignored;
    asio::write(socket_, asio::buffer(line + "\n"), ignored);
  }
  void done(const json::object& command, const std::string& value = "{}") {
    say("{\"return\": " + value + ", \"id\": " + json::serialize(command.at("id")) + "}");
  }
  void refuse(const json::object& command, const std::string& text) {
    say(R"({"error": {"class": "GenericError", "desc": ")" + text +
        "\"}, \"id\": " + json::serialize(command.at("id")) + "}");
  }
  void hang_up() { socket_.close(); }

  bool greets = true;
  std::vector<json::object> seen;
  std::function<void(const json::object&)> on_command;

 private:
  void read() {
    asio::async_read_until(socket_, asio::dynamic_buffer(input_), '\n', [this](auto error, std::size_t size) {
      if (error) return;
      const json::object command = json::parse(std::string_view(input_).substr(0, size)).as_object();
      input_.erase(0, size);
      if (command.at("execute") == "qmp_capabilities") {
        done(command);
      } else {
        seen.push_back(command);
        if (on_command) on_command(command);
      }
      if (socket_.is_open()) read();
    });
  }
  stream_protocol::acceptor acceptor_;
  stream_protocol::socket socket_;
  std::string input_;
};

struct QmpClientTest : testing::Test {
  TemporaryDirectory directory;
  Loop loop;
  FakeServer server{loop.context, directory.path / "qmp.sock"};
  std::shared_ptr<QmpClient> client;
  bool ready = false;
  std::vector<std::string> events;
  std::vector<std::string> losses;

  void connect() {
    QmpClient::Handlers handlers;
    handlers.ready = [this] { ready = true; };
    handlers.event = [this](const QmpEvent& event) { events.push_back(event.name); };
    handlers.lost = [this](const std::string& why) { losses.push_back(why); };
    auto made = QmpClient::connect(loop.context, directory.path / "qmp.sock", std::move(handlers));
    ASSERT_TRUE(made) << made.error().message;
    client = *made;
  }
  void connect_and_wait() {
    connect();
    ASSERT_TRUE(loop.until([this] { return ready; }));
  }
  void TearDown() override {
    if (client) client->close();
  }
};

TEST_F(QmpClientTest, ACommandWithADescriptorKeepsItsPlaceAmongTheOthers) {
  connect_and_wait();
  std::vector<std::string> answered;
  server.on_command = [this](const json::object& command) { server.done(command); };
  const auto note = [&answered](const char* name) {
    return [&answered, name](const QmpReply& reply) { answered.emplace_back(reply ? name : "failed"); };
  };
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd kept(ends[0]);
  client->execute("one", {}, kLong, note("one"));
  client->execute("two", {}, kLong, note("two"));
  client->execute_with(UniqueFd(ends[1]), "getfd", {{"fdname", "x"}}, kLong, note("getfd"));
  client->execute("three", {}, kLong, note("three"));
  ASSERT_TRUE(loop.until([&] { return answered.size() == 4; }));
  EXPECT_THAT(answered, ElementsAre("one", "two", "getfd", "three"));
  char byte = 0;
  EXPECT_EQ(::read(kept.get(), &byte, 1), 0) << "ours was not closed after it was passed on";
}

TEST_F(QmpClientTest, LeavesNegotiationBeforeItIsReady) {
  connect();
  EXPECT_FALSE(ready);
  EXPECT_FALSE(client->ready());
  ASSERT_TRUE(loop.until([this] { return ready; }));
  EXPECT_TRUE(client->ready());
}

TEST_F(QmpClientTest, NobodyListening) {
  auto made = QmpClient::connect(loop.context, directory.path / "nobody.sock", {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("nobody.sock"));
}

TEST_F(QmpClientTest, SendsWithoutWaitingAndAnswersInOrder) {
  connect_and_wait();
  std::vector<std::string> answers;
  for (const char* name : {"first", "second", "third"}) {
    client->execute(name, {{"name", name}}, kLong, [&answers](const QmpReply& reply) {
      answers.push_back(reply ? std::string(reply->as_string()) : reply.error().message);
    });
  }
  EXPECT_TRUE(answers.empty());
  // All three are there before any of them is answered.
  ASSERT_TRUE(loop.until([this] { return server.seen.size() == 3; }));
  EXPECT_EQ(server.seen[1].at("arguments").at("name"), "second");
  server.done(server.seen[0], "\"one\"");
  server.refuse(server.seen[1], "it is full");
  server.done(server.seen[2], "\"three\"");
  ASSERT_TRUE(loop.until([&] { return answers.size() == 3; }));
  EXPECT_THAT(answers, ElementsAre("one", "second: it is full", "three"));
}

TEST_F(QmpClientTest, ALimitAnswersOnceAndALateAnswerIsDropped) {
  connect_and_wait();
  std::vector<QmpReply> slow;
  std::vector<QmpReply> patient;
  client->execute("slow", {}, milliseconds(30), [&](QmpReply reply) { slow.push_back(std::move(reply)); });
  client->execute("patient", {}, kLong, [&](QmpReply reply) { patient.push_back(std::move(reply)); });
  ASSERT_TRUE(loop.until([&] { return !slow.empty(); }));
  EXPECT_EQ(slow[0].error().kind, QmpError::Kind::late);
  EXPECT_EQ(slow[0].error().message, "slow: no answer within 30 ms");
  server.done(server.seen.at(0));
  server.done(server.seen.at(1));
  ASSERT_TRUE(loop.until([&] { return !patient.empty(); }));
  EXPECT_TRUE(patient[0].has_value());
  EXPECT_EQ(slow.size(), 1u);
  EXPECT_TRUE(losses.empty());
}

TEST_F(QmpClientTest, AShorterLimitOfALaterCommandIsKept) {
  connect_and_wait();
  std::vector<std::string> answers;
  client->execute("a", {}, kLong, [&](const QmpReply&) { answers.emplace_back("a"); });
  client->execute("b", {}, milliseconds(20), [&](const QmpReply&) { answers.emplace_back("b"); });
  client->execute("c", {}, milliseconds(60), [&](const QmpReply&) { answers.emplace_back("c"); });
  ASSERT_TRUE(loop.until([&] { return answers.size() == 2; }));
  EXPECT_THAT(answers, ElementsAre("b", "c"));
}

TEST_F(QmpClientTest, EventsComeBetweenAnswers) {
  connect_and_wait();
  server.on_command = [this](const json::object& command) {
    server.say(R"({"event": "STOP"})");
    server.done(command);
    server.say(R"({"event": "RESUME"})");
  };
  bool answered = false;
  client->execute("stop", {}, kLong, [&](const QmpReply&) {
    answered = true;
    EXPECT_THAT(events, ElementsAre("STOP"));
  });
  ASSERT_TRUE(loop.until([&] { return events.size() == 2; }));
  EXPECT_TRUE(answered);
}

TEST_F(QmpClientTest, ALostConnectionAnswersWhatIsPendingAndIsReportedOnce) {
  connect_and_wait();
  std::vector<std::string> order;
  for (const char* name : {"a", "b"}) {
    client->execute(name, {}, kLong, [&order, name](const QmpReply& reply) {
      ASSERT_FALSE(reply);
      EXPECT_EQ(reply.error().kind, QmpError::Kind::lost);
      EXPECT_THAT(reply.error().message, HasSubstr("QEMU closed its monitor"));
      order.emplace_back(name);
    });
  }
  ASSERT_TRUE(loop.until([this] { return server.seen.size() == 2; }));
  server.hang_up();
  ASSERT_TRUE(loop.until([this] { return !losses.empty(); }));
  EXPECT_THAT(order, ElementsAre("a", "b"));
  EXPECT_THAT(losses, ElementsAre("QEMU closed its monitor"));
  // And afterwards each command is answered all the same.
  client->execute("c", {}, kLong, [&](const QmpReply& reply) {
    ASSERT_FALSE(reply);
    order.emplace_back("c");
  });
  EXPECT_EQ(order.size(), 2u);
  ASSERT_TRUE(loop.until([&] { return order.size() == 3; }));
  EXPECT_EQ(losses.size(), 1u);
}

TEST_F(QmpClientTest, AConnectionThatEndsInsideAMessageSaysSo) {
  connect_and_wait();
  client->execute("a", {}, kLong, [](const QmpReply&) {});
  ASSERT_TRUE(loop.until([this] { return server.seen.size() == 1; }));
  server.say(R"({"event": "STOP"})"
             "\n"
             R"({"ret)");
  // The line end that say() adds makes it a whole line of no JSON.
  ASSERT_TRUE(loop.until([this] { return !losses.empty(); }));
  EXPECT_THAT(losses[0], HasSubstr("no JSON"));
  EXPECT_THAT(events, ElementsAre("STOP"));
}

TEST_F(QmpClientTest, AnErrorWithoutAnIdIsTheEnd) {
  connect_and_wait();
  server.say(R"({"error": {"class": "GenericError", "desc": "Invalid JSON"}})");
  ASSERT_TRUE(loop.until([this] { return !losses.empty(); }));
  EXPECT_THAT(losses[0], HasSubstr("could not read a command: Invalid JSON"));
}

TEST_F(QmpClientTest, AnswersToNothingAreIgnored) {
  connect_and_wait();
  server.say(R"({"return": {}, "id": 999})");
  server.say(R"({"error": {"class": "GenericError", "desc": "x"}, "id": 998})");
  server.say(R"({"event": "STOP"})");
  ASSERT_TRUE(loop.until([this] { return !events.empty(); }));
  EXPECT_TRUE(losses.empty());
}

TEST_F(QmpClientTest, ClosedMeansSilent) {
  connect_and_wait();
  int called = 0;
  client->execute("a", {}, milliseconds(20), [&](const QmpReply&) { ++called; });
  ASSERT_TRUE(loop.until([this] { return server.seen.size() == 1; }));
  server.say(R"({"event": "STOP"})");
  client->close();
  client->execute("b", {}, milliseconds(20), [&](const QmpReply&) { ++called; });
  loop.run_for(milliseconds(60));
  EXPECT_EQ(called, 0);
  EXPECT_TRUE(events.empty());
  EXPECT_TRUE(losses.empty());
}

TEST_F(QmpClientTest, MayBeClosedFromInsideEachOfItsCallbacks) {
  for (const std::string where : {"ready", "answer", "event", "limit", "lost"}) {
    SCOPED_TRACE(where);
    const auto path = directory.path / (where + ".sock");
    FakeServer own(loop.context, path);
    own.on_command = [&own, where](const json::object& command) {
      if (where == "answer") own.done(command);
      if (where == "event") own.say(R"({"event": "STOP"})");
      if (where == "lost") own.hang_up();
    };
    std::shared_ptr<QmpClient> each;
    bool closed = false;
    const auto close = [&] {
      each->close();
      each.reset();
      closed = true;
    };
    QmpClient::Handlers handlers;
    handlers.ready = [&] {
      if (where == "ready") return close();
      each->execute("x", {}, where == "limit" ? Duration(milliseconds(5)) : kLong,
                    [&](const QmpReply& reply) {
                      EXPECT_EQ(reply.has_value(), where == "answer");
                      if (where == "answer" || where == "limit") close();
                    });
    };
    handlers.event = [&](const QmpEvent&) { close(); };
    handlers.lost = [&](const std::string&) { close(); };
    auto made = QmpClient::connect(loop.context, path, std::move(handlers));
    ASSERT_TRUE(made);
    each = std::move(*made);
    made = failure("");
    ASSERT_TRUE(loop.until([&] { return closed; }));
    loop.run_for(milliseconds(5));
  }
}

}  // namespace
}  // namespace understudy::qemu

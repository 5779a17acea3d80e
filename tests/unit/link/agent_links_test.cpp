#include "link/agent_links.hpp"

#include "base/unique_fd.hpp"
#include "fixtures.hpp"
#include "link/connection.hpp"
#include "protocol/codec.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

namespace understudy::link {
namespace {

using namespace std::chrono_literals;
namespace action = core::action;
namespace event = core::event;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;
using test::kAlpha;
using test::kRedis;

const from::Hello kHello{protocol::kVersion, "boot", 42, 128_MiB, 64_MiB, 128_MiB};

// AgentLinks with a scripted agent at the other end of a unix socket, in one thread.
class LinkTest : public testing::Test {
 protected:
  LinkTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-link.XXXXXX").string();
    directory = ::mkdtemp(pattern.data());
    path = directory + "/agent";
    listener = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener.get(), 4), 0);
    Heard heard;
    heard.tail = [this](core::GuestRun, const from::Tail& one) { tails.push_back(one); };
    heard.prepared = [this](core::GuestRun, const from::Prepared& one) { prepared.push_back(one); };
    heard.log = [this](core::GuestRun, const std::string& text) { logs.push_back(text); };
    links = *AgentLinks::create(
        io, config, [this](core::Event event) { events.push_back(std::move(event)); }, std::move(heard));
  }
  ~LinkTest() override {
    links.reset();
    io.restart();
    io.poll();
    std::filesystem::remove_all(directory);
  }

  void turn(Duration most = 5ms) {
    io.restart();
    io.run_one_for(most);
    io.poll();
  }
  void turns(Duration time) {
    for (const auto end = std::chrono::steady_clock::now() + time; std::chrono::steady_clock::now() < end;)
      turn();
  }
  template <class Condition>
  bool until(Condition condition, Duration most = 3s) {
    for (const auto end = std::chrono::steady_clock::now() + most; std::chrono::steady_clock::now() < end;
         turn()) {
      if (condition()) return true;
    }
    return condition();
  }

  bool accept() {
    received.clear();
    return until([this] {
      agent = UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      return static_cast<bool>(agent);
    });
  }
  void say_raw(std::string_view text) {
    while (!text.empty()) {
      const ssize_t put = ::write(agent.get(), text.data(), text.size());
      if (put > 0) text.remove_prefix(static_cast<std::size_t>(put));
      if (put < 0) turn();
    }
  }
  void say(const protocol::FromAgent& message) { say_raw(*protocol::encode(message)); }
  // The next line that the daemon sent.
  std::string line() {
    EXPECT_TRUE(until([this] {
      char buffer[4096];
      for (ssize_t got = 0; (got = ::read(agent.get(), buffer, sizeof buffer)) > 0;) {
        received.append(buffer, static_cast<std::size_t>(got));
      }
      return received.find('\n') != std::string::npos;
    }));
    const std::string one = received.substr(0, received.find('\n'));
    received.erase(0, one.size() + 1);
    return one;
  }
  template <class T>
  T hear() {
    const std::string one = line();
    auto message = protocol::decode_to_agent(one);
    if (!message || !std::holds_alternative<T>(*message)) {
      ADD_FAILURE() << "not the message: " << one;
      return {};
    }
    return std::get<T>(*message);
  }
  template <class T>
  [[nodiscard]] std::vector<T> all() const {
    std::vector<T> found;
    for (const auto& one : events) {
      if (const auto* event = std::get_if<T>(&one)) found.push_back(*event);
    }
    return found;
  }
  template <class T>
  T next() {
    if (!until([this] { return !all<T>().empty(); })) {
      ADD_FAILURE() << "the event did not come";
      return {};
    }
    const T event = all<T>().front();
    events.clear();
    return event;
  }
  void connect() {
    links->open(kAlpha, path);
    ASSERT_TRUE(accept());
    EXPECT_EQ(line(), "");
    (void)hear<to::Greet>();
  }
  void greet() {
    connect();
    say(kHello);
    (void)hear<to::Welcome>();
    (void)next<event::AgentGreeted>();
  }

  boost::asio::io_context io;
  config::Config config = test::two_guests();
  std::string directory;
  std::string path;
  UniqueFd listener;
  UniqueFd agent;
  std::string received;
  std::vector<core::Event> events;
  std::vector<from::Prepared> prepared;
  std::vector<from::Tail> tails;
  std::vector<std::string> logs;
  std::unique_ptr<AgentLinks> links;
};

TEST_F(LinkTest, GreetsAndWelcomesWithTheGuestsOwnApplications) {
  connect();
  say(kHello);
  const auto welcome = hear<to::Welcome>();
  EXPECT_EQ(welcome.guest, "alpha");
  EXPECT_EQ(welcome.run, 3u);
  EXPECT_EQ(welcome.beat_interval_ms, 50u);
  ASSERT_EQ(welcome.applications.size(), 1u);
  const auto& redis = welcome.applications[0];
  EXPECT_EQ(redis.app, 0u);
  EXPECT_EQ(redis.start, config.applications[0].start);
  EXPECT_EQ(redis.environment, (std::vector<protocol::Variable>{{"LANG", "C"}}));
  EXPECT_EQ(redis.health.kind, protocol::HealthKind::tcp);
  EXPECT_EQ(redis.restart.first, protocol::FirstResort::takeover);
  EXPECT_EQ(redis.start_limit_ms, 2u);
  EXPECT_EQ(redis.rehearsal, 2u) << "its twin comes after all applications";
  EXPECT_FALSE(redis.isolated);
  EXPECT_TRUE(redis.hot_standby);
  const auto greeted = next<event::AgentGreeted>();
  EXPECT_EQ(greeted.run, kAlpha);
  EXPECT_EQ(greeted.memory.available_bytes, 64_MiB);
  EXPECT_TRUE(links->connected(kAlpha));
}

TEST_F(LinkTest, ABetaGuestGetsBothApplications) {
  links->open({{1}, 1}, path);
  ASSERT_TRUE(accept());
  (void)line();
  (void)hear<to::Greet>();
  say(kHello);
  EXPECT_EQ(hear<to::Welcome>().applications.size(), 2u);
}

TEST_F(LinkTest, ARepeatedHelloIsOneGreetingAndAnotherAgentIsAnother) {
  greet();
  say(kHello);
  (void)hear<to::Welcome>();
  auto other = kHello;
  other.session = 43;
  say(other);
  (void)hear<to::Welcome>();
  turns(20ms);
  EXPECT_EQ(all<event::AgentGreeted>().size(), 1u);
}

TEST_F(LinkTest, AnotherVersionIsRefusedWithTheRemedy) {
  connect();
  auto hello = kHello;
  hello.version = 9;
  say(hello);
  EXPECT_NE(hear<to::Refuse>().why.find("build the guest's image"), std::string::npos);
  EXPECT_NE(next<event::AgentMisbehaved>().what.find("speaks version 9"), std::string::npos);
  EXPECT_FALSE(links->connected(kAlpha));
  say(from::Beat{1, 128_MiB, 64_MiB});
  turns(30ms);
  EXPECT_TRUE(events.empty());
}

TEST_F(LinkTest, RequestsGoOutAndAnswersComeBackAsEvents) {
  greet();
  links->ask_need({kAlpha, kRedis, 7, 1_GiB});
  EXPECT_EQ(hear<to::Need>(), (to::Need{0, 7, 1_GiB}));
  say(from::Need{0, 7, 1_GiB, 0, 512_MiB});
  EXPECT_EQ(next<event::NeedStated>().missing_bytes, 512_MiB);

  links->ask_engage({kAlpha, kRedis, 7, {{{3}, 1ULL << 32, 128_MiB}}});
  EXPECT_EQ(hear<to::Engage>().areas.at(0).address, 1ULL << 32);
  say(from::Engaged{0, 7, {3}, 254_MiB, 100_MiB});
  EXPECT_EQ(next<event::AreasEngaged>().memory.total_bytes, 254_MiB);

  links->ask_start({kAlpha, kRedis, 7, 1_GiB, {{3}}});
  EXPECT_EQ(hear<to::Start>(), (to::Start{0, 7, 1_GiB, {3}}));
  say(from::Serving{0, 7, {3}, 10_MiB, 99});
  EXPECT_EQ(next<event::AppServing>().areas_in_use, (std::vector<core::AreaId>{{3}}));

  links->answer_growth({kAlpha, kRedis, 7, 2_GiB, {{4}}, ""});
  EXPECT_EQ(hear<to::GrowDone>(), (to::GrowDone{0, 7, 2_GiB, {4}}));
  links->answer_growth({kAlpha, kRedis, 7, 2_GiB, {}, "used up"});
  EXPECT_EQ(hear<to::GrowRefused>().why, "used up");

  links->ask_stop({kAlpha, kRedis, 7});
  (void)hear<to::Stop>();
  say(from::Stopped{0, 7});
  EXPECT_EQ(next<event::AppStopped>().epoch, 7u);

  links->ask_release({kAlpha, kRedis, 7, {{3}}, 1500ms});
  EXPECT_EQ(hear<to::Release>(), (to::Release{0, 7, {{3, 1ULL << 32, 128_MiB}}, 1500}));
  say(from::Released{0, 7, {3}, ""});
  EXPECT_EQ(next<event::AreasReleased>().areas, (std::vector<core::AreaId>{{3}}));

  links->ask_state({kAlpha});
  (void)hear<to::Query>();
  say(from::State{{{0, 7, protocol::Phase::serving}}});
  EXPECT_TRUE(next<event::AppsStated>().apps.at(0).runs);

  links->ask_prepare({kAlpha, kRedis});
  (void)hear<to::Prepare>();
  say(from::Prepared{0, 12, ""});
  say(from::Log{"a word"});
  EXPECT_TRUE(until([this] { return prepared.size() == 1 && !logs.empty(); }));
  EXPECT_EQ(logs.back(), "a word");
  EXPECT_TRUE(all<event::AgentMisbehaved>().empty());
}

TEST_F(LinkTest, AReleaseOfAreasThatAFormerDaemonPluggedIn) {
  greet();
  links->ask_release({kAlpha, kRedis, 7, {{3}}, 1s});
  EXPECT_TRUE(events.empty());  // never from inside a request
  EXPECT_NE(next<event::AreasReleased>().why_not_all.find("area 3"), std::string::npos);
  const event::PluggedArea there[] = {{{3}, 5ULL << 32}};
  links->remember_areas(kAlpha, there);
  links->ask_release({kAlpha, kRedis, 7, {{3}}, 1s});
  EXPECT_EQ(hear<to::Release>().areas.at(0), (protocol::Area{3, 5ULL << 32, 128_MiB}));
}

TEST_F(LinkTest, TheTailOfAnOutputIsHandedOnOnceForEachTimeThatItIsAsked) {
  EXPECT_FALSE(links->ask_tail(kAlpha, kRedis));
  greet();
  say(from::Tail{0, "nobody asked\n"});
  say(from::Log{"before them"});
  ASSERT_TRUE(until([this] { return !logs.empty(); }));
  ASSERT_TRUE(links->ask_tail(kAlpha, kRedis, 1'000'000));
  EXPECT_EQ(hear<to::Tail>(), (to::Tail{0, protocol::kMaxTailBytes}));
  say(from::Tail{0, "one\ntwo\n"});
  say(from::Tail{0, "again\n"});
  say(from::Log{"after them"});
  EXPECT_TRUE(until([this] { return logs.back() == "after them"; }));
  EXPECT_EQ(tails, (std::vector<from::Tail>{{0, "one\ntwo\n"}}));
}

TEST_F(LinkTest, DrillsGoToTheAgentsThatCanCauseThem) {
  greet();
  EXPECT_TRUE(links->drill(kAlpha, core::FaultKind::os_panic, kRedis));
  EXPECT_EQ(hear<to::Drill>().kind, protocol::DrillKind::os_panic);
  EXPECT_TRUE(links->drill(kAlpha, core::FaultKind::agent_silence, kRedis, 700ms));
  EXPECT_EQ(hear<to::Drill>(), (to::Drill{protocol::DrillKind::silence, 0, 700}));
  EXPECT_FALSE(links->drill(kAlpha, core::FaultKind::vmm_kill, kRedis));
  EXPECT_FALSE(links->drill({{1}, 1}, core::FaultKind::app_exit, kRedis));
}

TEST_F(LinkTest, WhatIsNotAnsweredIsAskedAgainAfterABrokenLine) {
  greet();
  links->ask_need({kAlpha, kRedis, 7, 1_GiB});
  (void)hear<to::Need>();
  say(from::Need{0, 7, 1_GiB, 0, 512_MiB});
  (void)next<event::NeedStated>();
  links->ask_start({kAlpha, kRedis, 7, 1_GiB, {}});
  (void)hear<to::Start>();
  agent.reset();
  (void)next<event::AgentLost>();
  EXPECT_FALSE(links->connected(kAlpha));
  links->ask_state({kAlpha});  // meanwhile
  ASSERT_TRUE(accept());
  (void)line();
  (void)hear<to::Greet>();
  say(kHello);
  (void)hear<to::Welcome>();
  EXPECT_EQ(hear<to::Start>().epoch, 7u);
  (void)hear<to::Query>();
  (void)next<event::AgentGreeted>();
}

TEST_F(LinkTest, AMissingSocketIsTriedAgainAndToldOnce) {
  std::filesystem::rename(path, path + ".away");
  links->open(kAlpha, path);
  turns(700ms);
  ASSERT_EQ(logs.size(), 1u);
  EXPECT_NE(logs[0].find(path), std::string::npos);
  std::filesystem::rename(path + ".away", path);
  ASSERT_TRUE(accept());
  EXPECT_TRUE(events.empty());
}

TEST_F(LinkTest, AfterCloseNothingComes) {
  greet();
  say(from::Beat{1, 128_MiB, 64_MiB});
  say_raw("garbage\n");
  links->close(kAlpha);
  turns(700ms);
  EXPECT_TRUE(events.empty());
  links->ask_stop({kAlpha, kRedis, 7});
  links->ask_release({kAlpha, kRedis, 7, {{3}}, 1s});
  turns(20ms);
  EXPECT_TRUE(events.empty());
}

// ---- hostile guests ----

TEST_F(LinkTest, WhatWasSaidToAFormerConnectionIsDropped) {
  connect();
  say_raw("\":7,\"half a line\n");
  say(from::Faulted{0, 7, "old news", "", {}});
  say(kHello);
  (void)next<event::AgentGreeted>();
  turns(20ms);
  EXPECT_TRUE(events.empty());
}

TEST_F(LinkTest, GarbageIsOneMisbehaviourASecondAndNothingElse) {
  greet();
  for (int i = 0; i < 100; ++i)
    say_raw("{\"type\":\"root\",\"command\":\"rm\"}\n\xff\xfe\n[[[[[[[[[[[[[[\n{}\n");
  turns(50ms);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(std::get<event::AgentMisbehaved>(events[0]).what, "unknown message type \"root\"");
  turns(1s);
  say_raw("again\n");
  EXPECT_TRUE(until([this] { return events.size() == 2; }));
  EXPECT_NE(std::get<event::AgentMisbehaved>(events[1]).what.find("(and 399 times more before)"),
            std::string::npos);
  say(from::Beat{1, 128_MiB, 64_MiB});  // the line still works
  (void)next<event::AgentBeat>();
}

TEST_F(LinkTest, AnEndlessLineIsDroppedWithoutBeingKept) {
  greet();
  const std::string block(64 * 1024, 'x');
  for (int i = 0; i < 4; ++i) say_raw(block);
  say_raw("\n");
  say(from::Beat{1, 128_MiB, 64_MiB});
  (void)next<event::AgentMisbehaved>();
  EXPECT_TRUE(until([this] { return !all<event::AgentBeat>().empty(); }));
}

TEST_F(LinkTest, AForeignApplicationIsNobodysBusiness) {
  greet();
  say(from::Faulted{1, 7, "the neighbour's", "", {}});
  EXPECT_NE(next<event::AgentMisbehaved>().what.find("application 1"), std::string::npos);
  turns(20ms);
  EXPECT_TRUE(events.empty());
}

TEST_F(LinkTest, AFloodIsReadNoFasterThanItsLimitAndReported) {
  greet();
  std::string flood;
  for (int i = 0; i < 3000; ++i) flood += *protocol::encode(from::Beat{1, 128_MiB, 64_MiB});
  say_raw(flood);
  turns(300ms);
  const std::size_t at_once = all<event::AgentBeat>().size();
  EXPECT_LT(at_once, 2000u);
  ASSERT_FALSE(all<event::AgentMisbehaved>().empty());
  EXPECT_NE(all<event::AgentMisbehaved>()[0].what.find("floods"), std::string::npos);
  EXPECT_TRUE(until([this] { return all<event::AgentBeat>().size() == 3000; }, 10s));
}

TEST_F(LinkTest, LongLinesAreReadNoFasterThanTheLimitOfBytes) {
  greet();
  std::string beat = *protocol::encode(from::Beat{1, 128_MiB, 64_MiB});
  beat.insert(beat.size() - 1, protocol::kMaxLineToDaemon + 1 - beat.size(), ' ');  // the longest line
  constexpr std::size_t kLines = 96;
  constexpr double kPerSecond = kBytesPerSecond / static_cast<double>(protocol::kMaxLineToDaemon);
  static_assert(kLines > 2 * kPerSecond && kLines < kMessagesPerSecond);
  std::string flood;
  for (std::size_t i = 0; i < kLines; ++i) flood += beat;
  const auto start = std::chrono::steady_clock::now();
  say_raw(flood);
  ASSERT_TRUE(until([this] { return all<event::AgentBeat>().size() == kLines; }, 20s));
  // The bucket holds one second's worth; the rest takes as long as it takes.
  EXPECT_GE(std::chrono::steady_clock::now() - start,
            std::chrono::duration<double>(kLines / kPerSecond - 1.5));
  EXPECT_NE(all<event::AgentMisbehaved>().at(0).what.find("floods"), std::string::npos);
}

TEST_F(LinkTest, HellosAreAnsweredOnlySoOften) {
  greet();
  auto hello = kHello;
  for (int i = 0; i < 200; ++i) {
    ++hello.session;
    say(hello);
  }
  EXPECT_NE(next<event::AgentMisbehaved>().what.find("hello too often"), std::string::npos);
  turns(50ms);
  EXPECT_LE(all<event::AgentGreeted>().size(), 6u);
}

TEST_F(LinkTest, AGuestThatDoesNotReadIsLostAndCostsABoundedQueue) {
  greet();
  int sent = 0;
  while (links->connected(kAlpha) && sent < 100'000) {
    links->ask_prepare({kAlpha, kRedis});
    ++sent;
    io.restart();
    io.poll();
  }
  EXPECT_LT(sent, 100'000);
  EXPECT_EQ(next<event::AgentLost>().why, "it does not read what it is sent");
}

TEST_F(LinkTest, RandomBytesNeverBecomeAnythingButMisbehaviour) {
  greet();
  EXPECT_TRUE(rc::check([this](const std::string& bytes) {
    events.clear();
    say_raw(bytes + "\n");
    for (int i = 0; i < 3; ++i) turn(0ms);
    for (const auto& one : events) RC_ASSERT(std::holds_alternative<event::AgentMisbehaved>(one));
  }));
}

TEST(AgentLinks, CommandsThatDoNotFitAMessageAreFoundAtTheStart) {
  boost::asio::io_context io;
  auto config = test::two_guests();
  config.applications[1].start.assign(20, std::string(4000, 'x'));
  const auto links = AgentLinks::create(io, config, [](core::Event) {});
  ASSERT_FALSE(links);
  EXPECT_NE(links.error().message.find("guest beta cannot be told of its applications"), std::string::npos);
}

}  // namespace
}  // namespace understudy::link

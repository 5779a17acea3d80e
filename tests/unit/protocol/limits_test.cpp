// Every limit of limits.hpp, at its bound and one beyond it.
#include "protocol/limits.hpp"

#include "protocol/codec.hpp"
#include "samples.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace understudy::protocol {
namespace {

std::string from_agent_error_of(const std::string& line) {
  const auto message = decode_from_agent(line);
  return message ? "" : message.error().message;
}

std::string to_agent_error_of(const std::string& line) {
  const auto message = decode_to_agent(line);
  return message ? "" : message.error().message;
}

// What refuses the message on the sender's side.
template <class Message>
std::string refusal_of(const Message& message) {
  const auto line = encode(message);
  return line ? "" : line.error().message;
}

std::string stopped(const std::string& app, const std::string& epoch) {
  return R"({"type":"stopped","app":)" + app + R"(,"epoch":)" + epoch + "}";
}

TEST(Limits, OfALine) {
  const std::string message = stopped("1", "7");
  EXPECT_EQ(from_agent_error_of(message + std::string(kMaxLineToDaemon - message.size(), ' ')), "");
  EXPECT_NE(from_agent_error_of(message + std::string(kMaxLineToDaemon - message.size() + 1, ' ')), "");
  const std::string query = R"({"type":"query"})";
  EXPECT_EQ(to_agent_error_of(query + std::string(kMaxLineToAgent - query.size(), ' ')), "");
  EXPECT_EQ(to_agent_error_of(query + std::string(kMaxLineToAgent - query.size() + 1, ' ')),
            "the line is longer than 65536 bytes");
}

TEST(Limits, OfALineThatIsWritten) {
  to_agent::Welcome welcome{kVersion, "alpha", 1, 20, {test::redis()}};
  auto& start = welcome.applications[0].start;
  start.assign(15, std::string(kMaxArgumentBytes, 'a'));
  start.emplace_back();
  const std::size_t bytes = encode(ToAgent(welcome))->size() - 1;
  ASSERT_LT(kMaxLineToAgent - bytes, kMaxArgumentBytes);
  start.back().assign(kMaxLineToAgent - bytes, 'a');
  EXPECT_EQ(refusal_of(ToAgent(welcome)), "");
  start.back() += 'a';
  EXPECT_EQ(refusal_of(ToAgent(welcome)), "welcome: the message takes 65537 bytes, one line may have 65536");
}

TEST(Limits, OfNumbers) {
  EXPECT_EQ(from_agent_error_of(stopped(std::to_string(kMaxNumber), std::to_string(kMaxEpoch))), "");
  EXPECT_NE(from_agent_error_of(stopped(std::to_string(kMaxNumber + 1), "7")), "");
  EXPECT_EQ(from_agent_error_of(stopped("1", std::to_string(kMaxEpoch + 1))),
            "stopped.epoch must be a whole number from 0 to 9007199254740992");
  EXPECT_EQ(refusal_of(FromAgent(from_agent::WantsMemory{1, 7, kMaxBytes})), "");
  EXPECT_NE(refusal_of(FromAgent(from_agent::WantsMemory{1, 7, kMaxBytes + 1})), "");
  const auto wants = [](std::uint64_t bytes) {
    return from_agent_error_of(R"({"type":"wants_memory","app":1,"epoch":7,"more_bytes":)" +
                               std::to_string(bytes) + "}");
  };
  EXPECT_EQ(wants(kMaxBytes), "");
  EXPECT_EQ(wants(kMaxBytes + 1),
            "wants_memory.more_bytes must be a whole number from 0 to 4503599627370496");
  const auto drill = [](std::uint64_t ms) {
    return to_agent_error_of(R"({"type":"drill","kind":"silence","app":1,"duration_ms":)" +
                             std::to_string(ms) + "}");
  };
  EXPECT_EQ(drill(kMaxDurationMs), "");
  EXPECT_NE(drill(kMaxDurationMs + 1), "");
}

TEST(Limits, OfFreeTextsOnArrival) {
  const auto log = [](std::size_t bytes) {
    return from_agent_error_of(R"({"type":"log","text":")" + std::string(bytes, 'a') + "\"}");
  };
  EXPECT_EQ(log(kMaxWhyBytes), "");
  EXPECT_NE(log(kMaxWhyBytes + 1), "");
  const auto failed = [](std::size_t bytes) {
    return from_agent_error_of(
        R"({"type":"start_failed","app":1,"epoch":7,"why":"","configuration":false,"evidence":")" +
        std::string(bytes, 'a') + "\"}");
  };
  EXPECT_EQ(failed(kMaxEvidenceBytes), "");
  EXPECT_EQ(failed(kMaxEvidenceBytes + 1), "start_failed.evidence is longer than 4096 bytes");
}

TEST(Limits, OfATail) {
  const auto tail = [](std::size_t bytes) {
    return from_agent_error_of(R"({"type":"tail","app":1,"text":")" + std::string(bytes, 'a') + "\"}");
  };
  EXPECT_EQ(tail(kMaxTailBytes), "");
  EXPECT_NE(tail(kMaxTailBytes + 1), "");
  EXPECT_EQ(refusal_of(FromAgent(from_agent::Tail{1, std::string(kMaxTailBytes, '"')})), "");
  EXPECT_EQ(refusal_of(ToAgent(to_agent::Tail{1, kMaxTailBytes})), "");
  EXPECT_NE(refusal_of(ToAgent(to_agent::Tail{1, kMaxTailBytes + 1})), "");
}

TEST(Limits, OfNames) {
  const auto hello = [](std::size_t bytes) {
    return FromAgent(from_agent::Hello{kVersion, std::string(bytes, 'a'), 1, 1, 1, 0});
  };
  EXPECT_EQ(refusal_of(hello(kMaxNameBytes)), "");
  EXPECT_NE(refusal_of(hello(kMaxNameBytes + 1)), "");
  std::string line = *encode(hello(kMaxNameBytes));
  EXPECT_EQ(from_agent_error_of(line), "");
  line.insert(line.find("aaaa"), "a");
  EXPECT_EQ(from_agent_error_of(line), "hello.boot_id is longer than 64 bytes");
}

// One application of a welcome, changed; the sender's refusal of it.
std::string welcome_refusal(const std::function<void(Application&)>& change) {
  to_agent::Welcome welcome{kVersion, "alpha", 1, 20, {test::redis()}};
  change(welcome.applications[0]);
  return refusal_of(ToAgent(welcome));
}

TEST(Limits, OfAnApplicationsCommandAndEnvironment) {
  const auto arguments = [](std::size_t count, std::size_t bytes) {
    return welcome_refusal([&](Application& app) { app.start.assign(count, std::string(bytes, 'a')); });
  };
  EXPECT_EQ(arguments(1, kMaxArgumentBytes), "");
  EXPECT_NE(arguments(1, kMaxArgumentBytes + 1), "");
  EXPECT_EQ(arguments(kMaxArguments, 1), "");
  EXPECT_NE(arguments(kMaxArguments + 1, 1), "");
  const auto variables = [](std::size_t count) {
    return welcome_refusal([&](Application& app) { app.environment.assign(count, {"A", "b"}); });
  };
  EXPECT_EQ(variables(kMaxEnvironment), "");
  EXPECT_NE(variables(kMaxEnvironment + 1), "");
  const auto scratch = [](std::size_t count) {
    return welcome_refusal([&](Application& app) { app.scratch.assign(count, "/data"); });
  };
  EXPECT_EQ(scratch(kMaxScratch), "");
  EXPECT_NE(scratch(kMaxScratch + 1), "");
}

// The receiver holds the same limits: `item` so many times in the list that is empty in `line`.
std::string with_items(std::string line, const std::string& list, const std::string& item,
                       std::size_t count) {
  std::string items;
  for (std::size_t i = 0; i < count; ++i) items += (i == 0 ? "" : ",") + item;
  line.insert(line.find('"' + list + "\":[") + list.size() + 4, items);
  return line;
}

TEST(Limits, OfListsOnArrival) {
  Application small;
  small.app = 1;
  const std::string one = *encode(ToAgent(to_agent::Welcome{kVersion, "alpha", 1, 20, {small}}));
  EXPECT_EQ(to_agent_error_of(with_items(one, "start", "\"a\"", kMaxArguments)), "");
  EXPECT_EQ(to_agent_error_of(with_items(one, "start", "\"a\"", kMaxArguments + 1)),
            "welcome.applications.start must be a list of at most 256 entries");
  const std::string variable = R"({"name":"A","value":"b"})";
  EXPECT_EQ(to_agent_error_of(with_items(one, "environment", variable, kMaxEnvironment)), "");
  EXPECT_NE(to_agent_error_of(with_items(one, "environment", variable, kMaxEnvironment + 1)), "");
  EXPECT_EQ(to_agent_error_of(with_items(one, "start", '"' + std::string(kMaxArgumentBytes, 'a') + '"', 1)),
            "");
  EXPECT_NE(
      to_agent_error_of(with_items(one, "start", '"' + std::string(kMaxArgumentBytes + 1, 'a') + '"', 1)),
      "");

  EXPECT_EQ(to_agent_error_of(with_items(one, "scratch", "\"/data\"", kMaxScratch)), "");
  EXPECT_NE(to_agent_error_of(with_items(one, "scratch", "\"/data\"", kMaxScratch + 1)), "");

  const std::string none = *encode(ToAgent(to_agent::Welcome{kVersion, "alpha", 1, 20, {}}));
  const std::size_t begin = one.find("[{\"app\"") + 1;
  const std::string application = one.substr(begin, one.rfind(']') - begin);
  EXPECT_EQ(to_agent_error_of(with_items(none, "applications", application, kMaxApplications)), "");
  EXPECT_NE(to_agent_error_of(with_items(none, "applications", application, kMaxApplications + 1)), "");

  const std::string state = R"({"type":"state","apps":[]})";
  const std::string app = R"({"app":1,"epoch":7,"phase":"idle"})";
  EXPECT_EQ(from_agent_error_of(with_items(state, "apps", app, kMaxStates)), "");
  EXPECT_NE(from_agent_error_of(with_items(state, "apps", app, kMaxStates + 1)), "");

  const std::string released = R"({"type":"released","app":1,"epoch":7,"why_not_all":"","areas":[]})";
  EXPECT_EQ(from_agent_error_of(with_items(released, "areas", "1", kMaxAreas)), "");
  EXPECT_NE(from_agent_error_of(with_items(released, "areas", "1", kMaxAreas + 1)), "");
  const std::string engage = R"({"type":"engage","app":1,"epoch":7,"areas":[]})";
  const std::string area = R"({"id":1,"address":0,"bytes":1})";
  EXPECT_EQ(to_agent_error_of(with_items(engage, "areas", area, kMaxAreas)), "");
  EXPECT_NE(to_agent_error_of(with_items(engage, "areas", area, kMaxAreas + 1)), "");
}

TEST(Limits, OfNesting) {
  const auto nested = [](std::size_t depth) {  // the object itself is the first level
    return from_agent_error_of(R"({"type":"stopped","app":1,"epoch":7,"x":)" + std::string(depth - 1, '[') +
                               std::string(depth - 1, ']') + "}");
  };
  EXPECT_EQ(nested(kMaxDepth), "");
  EXPECT_NE(nested(kMaxDepth + 1), "");
}

}  // namespace
}  // namespace understudy::protocol

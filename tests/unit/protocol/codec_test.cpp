#include "protocol/codec.hpp"

#include "samples.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <limits>
#include <string>

namespace understudy::protocol {
namespace {

std::string body(const Result<std::string>& line) {
  EXPECT_TRUE(line) << (line ? "" : line.error().message);
  EXPECT_EQ(line->back(), '\n');
  return line->substr(0, line->size() - 1);
}

std::string error_of(const std::string& line) {
  auto message = decode_from_agent(line);
  return message ? "decoded" : message.error().message;
}

TEST(Codec, EveryMessageSurvivesTheRoundTrip) {
  ASSERT_EQ(test::all_to_agent().size(), std::variant_size_v<ToAgent>);
  for (const ToAgent& message : test::all_to_agent()) {
    auto back = decode_to_agent(body(encode(message)));
    ASSERT_TRUE(back) << type_name(message) << ": " << back.error().message;
    EXPECT_TRUE(*back == message) << type_name(message);
  }
  ASSERT_EQ(test::all_from_agent().size(), std::variant_size_v<FromAgent>);
  for (const FromAgent& message : test::all_from_agent()) {
    auto back = decode_from_agent(body(encode(message)));
    ASSERT_TRUE(back) << type_name(message) << ": " << back.error().message;
    EXPECT_TRUE(*back == message) << type_name(message);
  }
}

TEST(Codec, TheFormOnTheWireIsTheDocumentedOne) {
  EXPECT_EQ(body(encode(FromAgent(from_agent::Stopped{1, 7}))), R"({"type":"stopped","app":1,"epoch":7})");
  EXPECT_EQ(body(encode(ToAgent(to_agent::Start{1, 7, 1024, {3}}))),
            R"({"type":"start","app":1,"epoch":7,"memory_limit_bytes":1024,"areas":[3]})");
}

TEST(Codec, EveryTruncationIsRefused) {
  for (const FromAgent& message : test::all_from_agent()) {
    const std::string line = body(encode(message));
    for (std::size_t length = 0; length < line.size(); ++length) {
      EXPECT_FALSE(decode_from_agent(line.substr(0, length))) << line.substr(0, length);
    }
  }
  for (const ToAgent& message : test::all_to_agent()) {
    const std::string line = body(encode(message));
    for (std::size_t length = 0; length < line.size(); ++length) {
      EXPECT_FALSE(decode_to_agent(line.substr(0, length))) << line.substr(0, length);
    }
  }
}

TEST(Codec, EveryMissingFieldIsRefused) {
  // Renaming a field is the same as leaving it out and adding an unknown one.
  for (const FromAgent& message : test::all_from_agent()) {
    const std::string line = body(encode(message));
    for (std::size_t at = line.find(",\""); at != std::string::npos; at = line.find(",\"", at + 1)) {
      std::string renamed = line;
      renamed.insert(at + 2, "x");
      EXPECT_FALSE(decode_from_agent(renamed)) << renamed;
    }
  }
}

TEST(Codec, UnknownTypesAreErrorsAndUnknownFieldsAreNot) {
  EXPECT_EQ(error_of(R"({"type":"stop","app":1,"epoch":7})"), "unknown message type \"stop\"");
  EXPECT_EQ(error_of(R"({"type":"\u001b[2J"})"), "unknown message type \"?[2J\"");
  // Found when fuzz_agent_protocol was written: a line end in a type began a line of the log.
  EXPECT_EQ(error_of(R"({"type":"beat\nserving"})"), "unknown message type \"beat?serving\"");
  EXPECT_EQ(error_of(R"({"app":1})"), "the message has no \"type\"");
  EXPECT_EQ(error_of(R"({"type":5})"), "the message has no \"type\"");
  EXPECT_EQ(error_of(R"([1,2])"), "not a JSON object");
  EXPECT_TRUE(decode_from_agent(R"({"type":"stopped","app":1,"epoch":7,"new":{"a":[1]}})"));
}

TEST(Codec, WrongTypesAndNumbersNameTheField) {
  const std::string most = "stopped.app must be a whole number from 0 to 4294967295";
  EXPECT_EQ(error_of(R"({"type":"stopped","app":-1,"epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","app":4294967296,"epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","app":1e400,"epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","app":1.5,"epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","app":"1","epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","app":null,"epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","app":[1],"epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","app":99999999999999999999999999,"epoch":7})"), most);
  EXPECT_EQ(error_of(R"({"type":"stopped","epoch":7})"), "stopped.app is missing");
  EXPECT_EQ(error_of(R"({"type":"log","text":7})"), "log.text must be a text");
  EXPECT_EQ(
      error_of(
          R"({"type":"engaged","app":1,"epoch":7,"areas":3,"mem_total_bytes":1,"mem_available_bytes":1})"),
      "engaged.areas must be a list of at most 256 entries");
  EXPECT_EQ(error_of(R"({"type":"state","apps":[{"app":1,"epoch":7,"phase":"flying"}]})"),
            "state.apps.phase must be one of idle, starting, serving, restarting, wanting_memory, ending, "
            "stopping, faulted");
  EXPECT_EQ(error_of(R"({"type":"state","apps":[7]})"), "state.apps must be an object");
}

TEST(Codec, DeepNestingIsRefused) {
  std::string deep = R"({"type":"stopped","app":1,"epoch":7,"x":)";
  for (int i = 0; i < 4000; ++i) deep += "[";
  EXPECT_FALSE(decode_from_agent(deep));
  for (int i = 0; i < 4000; ++i) deep += "]";
  EXPECT_FALSE(decode_from_agent(deep + "}"));
}

TEST(Codec, OversizedLinesListsAndTextsAreRefused) {
  EXPECT_EQ(error_of(std::string(kMaxLineToDaemon + 1, ' ')), "the line is longer than 16384 bytes");
  std::string areas = "1";
  for (std::size_t i = 0; i < kMaxAreas; ++i) areas += ",1";
  EXPECT_EQ(error_of(R"({"type":"released","app":1,"epoch":7,"why_not_all":"","areas":[)" + areas + "]}"),
            "released.areas must be a list of at most 256 entries");
  EXPECT_EQ(error_of(R"({"type":"log","text":")" + std::string(kMaxWhyBytes + 1, 'a') + "\"}"),
            "log.text is longer than 512 bytes");
}

TEST(Codec, TheLargestAnswersFitTheirLine) {
  // A text in which every byte has to be escaped, in every field that may carry one.
  const std::string worst(10'000, '"');
  EXPECT_TRUE(encode(FromAgent(from_agent::Faulted{kMaxNumber, kMaxEpoch, worst, worst, {}})));
  from_agent::Released released{kMaxNumber, kMaxEpoch, {}, worst};
  released.areas.assign(kMaxAreas, kMaxNumber);
  EXPECT_TRUE(encode(FromAgent(released)));
  released.areas.push_back(1);
  auto refused = encode(FromAgent(released));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "released.areas: 257 entries are more than the 256 that fit a message");
}

TEST(Codec, AWelcomeThatDoesNotFitSaysSo) {
  to_agent::Welcome welcome;
  welcome.guest = "alpha";
  Application app = test::redis();
  app.start.assign(20, std::string(4000, 'a'));
  welcome.applications = {app};
  auto line = encode(ToAgent(welcome));
  ASSERT_FALSE(line);
  EXPECT_NE(line.error().message.find("one line may have 65536"), std::string::npos) << line.error().message;
  app.start = {std::string("/bin/x\0y", 8)};
  welcome.applications = {app};
  line = encode(ToAgent(welcome));
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().message,
            "welcome.applications.start: the text holds control characters or is not UTF-8");
}

TEST(Codec, TextsAreCleanedBothWays) {
  const std::string line = body(encode(FromAgent(from_agent::Log{"a\x1b[31mb\xff\x00 c"})));
  EXPECT_EQ(line, R"({"type":"log","text":"a?[31mb?"})");
  auto hostile = decode_from_agent(R"({"type":"log","text":"a\u001b]0;title\u0007\u009b\u0000"})");
  ASSERT_TRUE(hostile);
  EXPECT_EQ(std::get<from_agent::Log>(*hostile).text, "a?]0;title???");
}

TEST(Codec, EvidenceKeepsItsEnd) {
  const std::string lines = std::string(kMaxEvidenceBytes, 'x') + "the last line";
  auto back = decode_from_agent(body(encode(FromAgent(from_agent::StartFailed{1, 7, "w", lines}))));
  ASSERT_TRUE(back);
  const auto& evidence = std::get<from_agent::StartFailed>(*back).evidence;
  EXPECT_EQ(evidence.size(), kMaxEvidenceBytes);
  EXPECT_TRUE(evidence.ends_with("the last line"));
}

// A cause stands in events and tables; only evidence may have lines of its own.
TEST(Codec, FreeTextIsHeardAsOneLineAndEvidenceIsNot) {
  const auto heard = decode_from_agent(
      R"({"type":"faulted","app":1,"epoch":7,"cause":"dead\n12:00:00 all is well","evidence":"one\ntwo\n","level":"recoverable","configuration":false})");
  ASSERT_TRUE(heard) << heard.error().message;
  EXPECT_EQ(std::get<from_agent::Faulted>(*heard).cause, "dead 12:00:00 all is well");
  EXPECT_EQ(std::get<from_agent::Faulted>(*heard).evidence, "one\ntwo\n");
}

TEST(Codec, GarbageNeverDecodesToAnythingButAnError) {
  EXPECT_TRUE(
      rc::check("random bytes", [](const std::string& bytes) { RC_ASSERT(!decode_from_agent(bytes)); }));
  EXPECT_TRUE(rc::check("a damaged message decodes to something within its limits or not at all", [] {
    const auto all = test::all_from_agent();
    const auto& message = all[*rc::gen::inRange<std::size_t>(0, all.size())];
    std::string line = *encode(message);
    line.pop_back();
    const auto at = *rc::gen::inRange<std::size_t>(0, line.size());
    line[at] = static_cast<char>(*rc::gen::inRange<int>(0, 256));
    auto back = decode_from_agent(line);
    if (back) RC_ASSERT(encode(*back).has_value());
  }));
}

TEST(Codec, AnyEngageRoundTrips) {
  EXPECT_TRUE(rc::check([](std::vector<std::uint32_t> ids) {
    to_agent::Engage engage{
        *rc::gen::inRange<std::uint32_t>(0, 1000), *rc::gen::inRange<std::uint64_t>(0, kMaxEpoch), {}};
    for (const auto id : ids) {
      engage.areas.push_back({id, *rc::gen::inRange<std::uint64_t>(0, kMaxBytes),
                              *rc::gen::inRange<std::uint64_t>(1, kMaxBytes)});
    }
    auto line = encode(ToAgent(engage));
    RC_ASSERT(line.has_value() == (ids.size() <= kMaxAreas));
    if (!line) return;
    line->pop_back();
    auto back = decode_to_agent(*line);
    RC_ASSERT(back.has_value());
    RC_ASSERT(std::get<to_agent::Engage>(*back) == engage);
  }));
}

TEST(Codec, AnyTextRoundTripsOnceCleaned) {
  EXPECT_TRUE(rc::check([](const std::string& why) {
    auto line = encode(FromAgent(from_agent::StopFailed{1, 2, why}));
    RC_ASSERT(line.has_value());
    RC_ASSERT(line->find('\n') == line->size() - 1);
    auto once = decode_from_agent(line->substr(0, line->size() - 1));
    RC_ASSERT(once.has_value());
    RC_ASSERT(*encode(*once) == *line);
  }));
}

}  // namespace
}  // namespace understudy::protocol

#include "qemu/qmp_codec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::qemu {
namespace {

using testing::HasSubstr;

std::vector<QmpMessage> messages_of(std::string_view text) {
  QmpCodec codec;
  std::vector<QmpMessage> messages;
  const auto fed = codec.feed(text, messages);
  EXPECT_TRUE(fed) << fed.error().message;
  EXPECT_EQ(codec.pending_bytes(), 0u);
  return messages;
}

std::string refusal_of(std::string_view text) {
  QmpCodec codec;
  std::vector<QmpMessage> messages;
  const auto fed = codec.feed(text, messages);
  if (fed) return "accepted";
  EXPECT_FALSE(codec.feed("{\"event\":\"STOP\"}\n", messages)) << "went on after an error";
  return fed.error().message;
}

// What QEMU 7.2 really sent.
constexpr const char* kGreeting =
    R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}})"
    "\r\n";
constexpr const char* kEvent =
    R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": "GUEST_PANICKED", "data": {"action": "pause"}})"
    "\r\n";

TEST(QmpCodec, ReadsAGreeting) {
  const auto messages = messages_of(kGreeting);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(std::get<QmpGreeting>(messages[0]).version, "7.2.22");
}

TEST(QmpCodec, ReadsAnAnswerAnErrorAndAnEvent) {
  const auto messages =
      messages_of(std::string(R"({"return": {"running": true}, "id": 7})") + "\n" +
                  R"({"id": 8, "error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}})" +
                  "\n" + kEvent + R"({"event": "STOP"})" + "\n");
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(std::get<QmpReturn>(messages[0]).id, 7u);
  EXPECT_TRUE(std::get<QmpReturn>(messages[0]).value.at("running").as_bool());
  EXPECT_EQ(std::get<QmpErrorReply>(messages[1]).id, 8u);
  EXPECT_EQ(std::get<QmpErrorReply>(messages[1]).error_class, "DeviceNotFound");
  EXPECT_EQ(std::get<QmpErrorReply>(messages[1]).description, "Device 'x' not found");
  EXPECT_EQ(std::get<QmpEvent>(messages[2]).name, "GUEST_PANICKED");
  EXPECT_EQ(std::get<QmpEvent>(messages[2]).data.at("action").as_string(), "pause");
  EXPECT_TRUE(std::get<QmpEvent>(messages[3]).data.empty());
}

TEST(QmpCodec, PiecesMakeTheSameMessages) {
  const std::string text = std::string(kGreeting) + kEvent + "\n  \n" + R"({"return": {}, "id": 1})" + "\n";
  for (std::size_t size = 1; size < text.size(); size += 7) {
    QmpCodec codec;
    std::vector<QmpMessage> messages;
    for (std::size_t at = 0; at < text.size(); at += size)
      ASSERT_TRUE(codec.feed(std::string_view(text).substr(at, size), messages));
    EXPECT_EQ(messages.size(), 3u) << "in pieces of " << size;
  }
}

TEST(QmpCodec, ATruncatedMessageStaysPending) {
  QmpCodec codec;
  std::vector<QmpMessage> messages;
  ASSERT_TRUE(codec.feed(R"({"return": {}, "id")", messages));
  EXPECT_TRUE(messages.empty());
  EXPECT_EQ(codec.pending_bytes(), 19u);
  ASSERT_TRUE(codec.feed(": 5}\n", messages));
  EXPECT_EQ(std::get<QmpReturn>(messages.at(0)).id, 5u);
}

TEST(QmpCodec, ALineHasALimit) {
  const std::string filler(QmpCodec::kMaxLineBytes - 40, 'x');
  EXPECT_EQ(messages_of(R"({"event": ")" + filler + "\"}\n").size(), 1u);
  EXPECT_THAT(refusal_of(R"({"event": ")" + filler + filler), HasSubstr("more than 1048576 bytes"));
  // Also when it comes in small pieces and never ends.
  QmpCodec codec;
  std::vector<QmpMessage> messages;
  std::size_t taken = 0;
  while (codec.feed("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", messages)) taken += 40;
  EXPECT_LE(taken, QmpCodec::kMaxLineBytes);
  EXPECT_EQ(codec.pending_bytes(), 0u) << "kept what it refused";
}

TEST(QmpCodec, ALineOfExactlyTheLimitIsRead) {
  const std::string frame = R"({"event": ""})";
  const std::string name(QmpCodec::kMaxLineBytes - frame.size(), 'x');
  const auto event = [](const std::string& text) { return R"({"event": ")" + text + "\"}\n"; };
  EXPECT_EQ(messages_of(event(name)).size(), 1u);
  EXPECT_THAT(refusal_of(event(name + "x")), HasSubstr("more than 1048576 bytes"));
}

TEST(QmpCodec, NestingHasALimit) {
  const auto nested = [](std::size_t depth) {  // the message is the first level
    return R"({"return": )" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + ", \"id\": 1}\n";
  };
  EXPECT_EQ(messages_of(nested(QmpCodec::kMaxNesting)).size(), 1u);
  EXPECT_THAT(refusal_of(nested(QmpCodec::kMaxNesting + 1)), HasSubstr("no JSON"));
}

// Found when fuzz_qmp was written: they went into the events as they came, up to a megabyte with whatever a
// terminal obeys.
TEST(QmpCodec, TheTextsOfAnErrorAreFitToBeShown) {
  const auto messages = messages_of(R"({"error": {"class": "\u001b[2J", "desc": "a\n\u009b)" +
                                    std::string(5000, 'x') + "\"}, \"id\": 1}\n");
  ASSERT_EQ(messages.size(), 1u);
  const auto& error = std::get<QmpErrorReply>(messages[0]);
  EXPECT_EQ(error.error_class, "?[2J");
  const auto long_class =
      messages_of(R"({"error": {"class": ")" + std::string(100, 'x') + "\", \"desc\": \"\"}, \"id\": 1}\n");
  ASSERT_EQ(long_class.size(), 1u);
  EXPECT_EQ(std::get<QmpErrorReply>(long_class[0]).error_class,
            std::string(QmpCodec::kMostErrorClassBytes, 'x') + "...");
  EXPECT_EQ(error.description, "a???" + std::string(QmpCodec::kMostErrorBytes - 4, 'x') + "...");
}

TEST(QmpCodec, GarbageIsNamedAndHarmlessForATerminal) {
  EXPECT_THAT(refusal_of("hello\n"), HasSubstr("no JSON"));
  EXPECT_THAT(refusal_of("hello\n"), HasSubstr("\"hello\""));
  EXPECT_THAT(refusal_of("[1]\n"), HasSubstr("no JSON object"));
  EXPECT_THAT(refusal_of("{\"a\": 1}\n"), HasSubstr("neither a greeting, an answer nor an event"));
  EXPECT_THAT(refusal_of("{\"return\": {}}\n"), HasSubstr("without the id"));
  EXPECT_THAT(refusal_of("{\"return\": {}, \"id\": -1}\n"), HasSubstr("without the id"));
  EXPECT_THAT(refusal_of("{\"error\": 5, \"id\": 1}\n"), HasSubstr("an error that is no object"));
  EXPECT_THAT(refusal_of("{\"event\": 5}\n"), HasSubstr("an event without a name"));
  EXPECT_THAT(refusal_of(std::string(40, '[') + "\n"), HasSubstr("no JSON"));
  EXPECT_THAT(refusal_of("\x1b[2J\x07\n"), testing::Not(HasSubstr("\x1b")));
  EXPECT_THAT(refusal_of(std::string("{\"event\": \"A\"}\0\n", 16)), HasSubstr("no JSON"));
}

TEST(QmpCodec, WhatCameBeforeTheGarbageCounts) {
  QmpCodec codec;
  std::vector<QmpMessage> messages;
  EXPECT_FALSE(codec.feed("{\"event\": \"STOP\"}\ngarbage\n{\"event\": \"RESUME\"}\n", messages));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(std::get<QmpEvent>(messages[0]).name, "STOP");
}

TEST(QmpCodec, WritesCommandsOnALineEach) {
  EXPECT_EQ(qmp_command(3, "stop", {}), "{\"execute\":\"stop\",\"id\":3}\n");
  EXPECT_EQ(qmp_command(4, "device_del", {{"id", "a\nb"}}),
            "{\"execute\":\"device_del\",\"id\":4,\"arguments\":{\"id\":\"a\\nb\"}}\n");
}

}  // namespace
}  // namespace understudy::qemu

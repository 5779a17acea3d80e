#include "config/config.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

// parse() is given whatever a file can hold. It has to come back, with an error that has a place.
namespace understudy::config {
namespace {

void expect_placed(const tl::expected<Config, Errors>& config) {
  if (config) return;
  ASSERT_FALSE(config.error().empty());
  for (const std::string& error : config.error()) {
    EXPECT_EQ(error.rfind("x.toml:", 0), 0u) << error;
    for (const char c : error) EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20 || c == 0x7f) << error;
  }
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Hostile, DeepNestingComesBack) {
  for (const char* opening : {"[", "{a=", "[{a=", "[[", "{a.b.c="}) {
    expect_placed(parse("a = " + repeated(opening, 20000), "x.toml"));
  }
  expect_placed(parse("[" + repeated("a.", 100000) + "a]", "x.toml"));
  expect_placed(parse(repeated("a.", 100000) + "a = 1", "x.toml"));
  // As deep as the limits let through: 256 dots in every line, 16 values inside each other.
  const std::string dotted = repeated("a.", 250) + "a = [\n{";
  expect_placed(parse(repeated(dotted, 8) + "b = 1" + repeated("}]", 8), "x.toml"));
  expect_placed(parse(repeated(dotted, 7) + "b = 1" + repeated("}]", 7), "x.toml"));
}

TEST(Hostile, ManyErrorsAreBounded) {
  const auto config = parse(repeated("a = 1 MiB\n", 20000), "x.toml");
  ASSERT_FALSE(config.has_value());
  EXPECT_LE(config.error().size(), 21u);
  const auto tables = parse(repeated("[[guest]]\n", 20000), "x.toml");
  ASSERT_FALSE(tables.has_value());
  EXPECT_LE(tables.error().size(), 200u);
}

TEST(Hostile, UnclosedTextAndControlBytesComeBack) {
  for (const char* text : {"a = \"",
                           "a = \"\"\"\nb\n",
                           "a = '''",
                           "a = \"\\u",
                           "a = [1,",
                           "[",
                           "[[",
                           "[[guest]",
                           "=",
                           "\xef\xbb\xbf[pool]",
                           "\xff\xfe[\0p",
                           "a = \x01",
                           "a\x7f = 1",
                           "\"\x1b[31m\" = 1",
                           "a = 0x",
                           "a = 1e",
                           "a = 1979-13-99",
                           "a = +inf",
                           "\r",
                           "a = 1\r"}) {
    expect_placed(parse(text, "x.toml"));
  }
  expect_placed(parse(std::string("a = \"\0\"", 7), "x.toml"));
  expect_placed(parse(std::string(1000, '\0'), "x.toml"));
}

// A seeded mutation of a good file, so that a failure can be repeated.
TEST(Hostile, MutationsOfAGoodFileComeBack) {
  const std::string good =
      "[pool]\nmemory = \"1600 MiB\"\narea_size = \"128 MiB\"\n[image]\nkernel = \"k\"\ninitramfs = "
      "\"i\"\ndisk = "
      "\"d\"\n[[guest]]\nname = \"alpha\"\nheartbeat = { interval = \"50 ms\", limit = \"1 s\" "
      "}\n[[guest]]\nname = "
      "\"beta\"\n[[application]]\nname = \"redis\"\nguests = [\"alpha\", \"beta\"]\nmemory = \"1 "
      "GiB\"\nstart = "
      "[\"/r\",\n \"-x\"]\naddress = { listen = \"127.0.0.1:1\", port = 1 }\nhealth = { kind = \"tcp\" }\n";
  ASSERT_TRUE(parse(good, "x.toml").has_value());
  const std::string special = "[]{}=\"'.#,\n\\\0\xff 0a-";
  std::mt19937 random(4711);
  for (int round = 0; round < 1500; ++round) {
    std::string text = good;
    for (int change = static_cast<int>(random() % 4); change >= 0; --change) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text[at] = special[random() % special.size()]; break;
        case 1: text.erase(at, random() % 20); break;
        case 2: text.insert(at, 1, special[random() % special.size()]); break;
        default: text.insert(at, text.substr(random() % text.size(), random() % 40)); break;
      }
      if (text.empty()) text = "a";
    }
    SCOPED_TRACE(text);
    expect_placed(parse(text, "x.toml"));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace understudy::config

#include "protocol/line_reader.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

namespace understudy::protocol {
namespace {

using Found = LineReader::Found;
using OnOversized = LineReader::OnOversized;

// What a reader finds in the pieces: its lines, and "!" for each oversized one.
std::vector<std::string> read(LineReader& reader, const std::vector<std::string>& pieces) {
  std::vector<std::string> found;
  for (const std::string& piece : pieces) {
    std::string_view input = piece;
    for (;;) {
      const Found what = reader.take(input);
      if (what == Found::nothing) break;
      found.push_back(what == Found::line ? std::string(reader.line()) : "!");
      if (what == Found::oversized && input.empty()) break;
    }
    EXPECT_TRUE(input.empty());
  }
  return found;
}

using Lines = std::vector<std::string>;

TEST(LineReader, CutsWhateverThePieces) {
  LineReader reader(8, OnOversized::fail);
  EXPECT_EQ(read(reader, {"ab", "c\nde\n\nf", "", "g\n"}), (Lines{"abc", "de", "", "fg"}));
}

TEST(LineReader, ALineOfExactlyTheLimitIsALine) {
  LineReader reader(4, OnOversized::fail);
  EXPECT_EQ(read(reader, {"abcd\n", "ab", "cd", "\n"}), (Lines{"abcd", "abcd"}));
}

TEST(LineReader, AfterAnOversizedLineItFailsForGood) {
  LineReader reader(4, OnOversized::fail);
  EXPECT_EQ(read(reader, {"ok\nabcde\nok\n", "ok\n"}), (Lines{"ok", "!", "!"}));
  reader.reset();
  EXPECT_EQ(read(reader, {"ok\n"}), (Lines{"ok"}));
}

TEST(LineReader, OrDropsThatLineAndReadsOn) {
  LineReader reader(4, OnOversized::resynchronise);
  EXPECT_EQ(read(reader, {"ok\nabcdefgh", "ijkl", "m\nne", "xt\n"}), (Lines{"ok", "!", "next"}));
  EXPECT_EQ(read(reader, {"abcde\nok\n"}), (Lines{"!", "ok"}));
}

TEST(LineReader, NeverHoldsMoreThanItsBound) {
  LineReader reader(16, OnOversized::resynchronise);
  const std::string flood(1'000'000, 'x');
  std::string_view input = flood;
  EXPECT_EQ(reader.take(input), Found::oversized);
  EXPECT_EQ(reader.take(input), Found::nothing);
  EXPECT_TRUE(input.empty());
  EXPECT_LE(reader.line().size(), 16u);
}

TEST(LineReader, HowTheBytesArriveMakesNoDifference) {
  EXPECT_TRUE(rc::check([](const std::vector<std::string>& pieces) {
    std::vector<std::string> split = pieces;
    for (auto& piece : split) {
      for (auto& byte : piece) byte = byte % 3 == 0 ? '\n' : byte;  // lines of a few bytes
    }
    std::string whole;
    for (const auto& piece : split) whole += piece;
    LineReader one(3, OnOversized::resynchronise);
    LineReader other(3, OnOversized::resynchronise);
    RC_ASSERT(read(one, {whole}) == read(other, split));
  }));
}

}  // namespace
}  // namespace understudy::protocol

#include "base/shown.hpp"

#include <gtest/gtest.h>

namespace understudy {
namespace {

TEST(Shown, KeepsPrintableTextAndMarksACut) {
  EXPECT_EQ(shown("", 4), "");
  EXPECT_EQ(shown("abcd", 4), "abcd");
  EXPECT_EQ(shown("abcde", 4), "abcd...");
}

TEST(Shown, NothingDrivesATerminalOrBeginsALine) {
  EXPECT_EQ(shown(std::string_view("\x1b[2J\n\r\0\x7f", 8), 80), "?[2J????");
  EXPECT_EQ(shown("\xc2\x9b\xff", 80), "???");
}

}  // namespace
}  // namespace understudy

#include "protocol/text.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace understudy::protocol {
namespace {

TEST(Text, KeepsWhatIsFitToBeShown) {
  EXPECT_EQ(clean_text("a line\n\tand more: é € 😀", 100), "a line\n\tand more: é € 😀");
}

TEST(Text, ReplacesControlsAndBadBytes) {
  EXPECT_EQ(clean_text(std::string_view("\x1b[2J\r\x7f\0", 7), 100), "?[2J???");
  EXPECT_EQ(clean_text("\xc2\x9b", 100), "?");                  // a C1 control drives terminals too
  EXPECT_EQ(clean_text("\xc0\xaf\xed\xa0\x80", 100), "?????");  // overlong, surrogate
  EXPECT_EQ(clean_text("\xf4\x90\x80\x80\xe2\x82", 100), "??????");
}

TEST(Text, CutsBetweenCharacters) {
  EXPECT_EQ(clean_text("aé", 2), "a");
  EXPECT_EQ(clean_text("aé", 3), "aé");
  EXPECT_EQ(clean_tail("éab", 3), "ab");
  EXPECT_EQ(clean_tail("éab", 4), "éab");
}

TEST(Text, CleaningTwiceChangesNothingAndTheBoundHolds) {
  EXPECT_TRUE(rc::check([](const std::string& bytes) {
    const auto most = *rc::gen::inRange<std::size_t>(0, 64);
    const std::string once = clean_text(bytes, most);
    RC_ASSERT(once.size() <= most);
    RC_ASSERT(clean_text(once, most) == once);
    RC_ASSERT(clean_tail(bytes, most).size() <= most);
  }));
}

}  // namespace
}  // namespace understudy::protocol

#include "base/units.hpp"

#include "base/counted.hpp"

#include <gtest/gtest.h>

namespace understudy {
namespace {

TEST(Size, IsReadWithItsUnit) {
  EXPECT_EQ(parse_size("512 MiB").value(), 512_MiB);
  EXPECT_EQ(parse_size("64KiB").value(), 64_KiB);
  EXPECT_EQ(parse_size("1 GiB").value(), 1_GiB);
  EXPECT_EQ(parse_size("0 B").value(), 0U);
}

TEST(Size, IsRefusedWithTheReasonAndAnExample) {
  for (const char* text : {"", "MiB", "512", "512 MB", "-1 MiB", "1.5 GiB", "512 MiBs",
                           "99999999999999999999 B", "9223372036854775807 KiB", " 1 MiB"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_NE(size.error().message.find("such as \"512 MiB\""), std::string::npos) << size.error().message;
  }
}

TEST(Size, IsWrittenInTheUnitThatReadsBest) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1_GiB), "1 GiB");
  EXPECT_EQ(format_size(1008_MiB), "1008 MiB");
  EXPECT_EQ(format_size(67368_KiB), "65.8 MiB");
  EXPECT_EQ(format_size(1_MiB + 1), "1.0 MiB");
}

TEST(DurationText, IsReadAndWritten) {
  EXPECT_EQ(parse_duration("200 ms").value(), std::chrono::milliseconds(200));
  EXPECT_EQ(parse_duration("2 min").value(), std::chrono::minutes(2));
  EXPECT_FALSE(parse_duration("2 m"));
  EXPECT_FALSE(parse_duration("9223372036854775807 h"));
  EXPECT_EQ(format_duration(std::chrono::milliseconds(1500)), "1500 ms");
  EXPECT_EQ(format_duration(std::chrono::seconds(90)), "90 s");
  EXPECT_EQ(format_duration(std::chrono::minutes(2)), "2 min");
}

TEST(DurationText, OfWhatWasMeasuredIsRounded) {
  EXPECT_EQ(readable_duration(std::chrono::microseconds(439612)), "440 ms");
  EXPECT_EQ(readable_duration(std::chrono::microseconds(999600)), "1.0 s");
  EXPECT_EQ(readable_duration(std::chrono::microseconds(16'991'456)), "17.0 s");
  EXPECT_EQ(readable_duration(std::chrono::minutes(35)), "35 min");
  EXPECT_EQ(readable_duration(std::chrono::hours(26)), "26 h");
}

TEST(Counted, AgreesWithItsNoun) {
  EXPECT_EQ(counted(0, "guest"), "0 guests");
  EXPECT_EQ(counted(1, "guest"), "1 guest");
  EXPECT_EQ(counted(2, "entry", "entries"), "2 entries");
}

}  // namespace
}  // namespace understudy

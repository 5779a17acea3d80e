// What is not wrong, and is said to whoever checks a configuration.
#include "config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Three applications: the first two share a guest.
std::vector<std::string> said(const std::string& first, const std::string& second, const std::string& third) {
  std::string text = "[pool]\nmemory = \"4 GiB\"\n[image]\nkernel = \"k\"\ninitramfs = \"i\"\ndisk = \"d\"\n";
  for (const char* const guest : {"alpha", "beta", "gamma"})
    text += "[[guest]]\nname = \"" + std::string(guest) + "\"\nbase_memory = \"128 MiB\"\n";
  const auto application = [&](const std::string& name, const std::string& guests, const std::string& user) {
    text += "[[application]]\nname = \"" + name + "\"\nguests = [" + guests +
            "]\nmemory = \"64 MiB\"\nstart = [\"/bin/true\"]\nhealth = { kind = \"process\" }\n";
    if (!user.empty()) text += "user = \"" + user + "\"\n";
  };
  application("one", R"("alpha", "beta")", first);
  application("two", R"("beta")", second);
  application("three", R"("gamma")", third);
  const auto config = parse(text, "/none/understudy.toml");
  if (!config) return config.error();
  return remarks(*config);
}

TEST(Remarks, NameRootThatSharesAGuest) {
  EXPECT_THAT(said("root", "", "root"),
              ElementsAre(AllOf(HasSubstr("one runs as root and shares a guest with two,"),
                                HasSubstr("user = \"61001\""))));
  EXPECT_THAT(said("", "0:61000", "x"),
              ElementsAre(HasSubstr("two runs as root and shares a guest with one,")));
  EXPECT_THAT(said("root", "0", "x"), SizeIs(2));
}

TEST(Remarks, AreNoneOfAnybodyElse) {
  EXPECT_THAT(said("", "", ""), IsEmpty());
  EXPECT_THAT(said("61001", "61002:61001", "root"), IsEmpty());
}

TEST(Remarks, AUserMayBeANumber) {
  for (const char* const good : {"1", "61001", "61001:0", "4294967294:4294967294"})
    EXPECT_THAT(said(good, "other", "x"), IsEmpty()) << good;
  for (const char* const bad : {"4294967295", "61001:", ":61001", "61001:x", "-1", "1:2:3", "app:1", "1 "})
    EXPECT_THAT(said(bad, "other", "x"), ElementsAre(HasSubstr("cannot be used"))) << bad;
}

}  // namespace
}  // namespace understudy::config

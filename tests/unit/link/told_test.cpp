// Whatever `check` accepts, `up` brings up: files are drawn at random, near every limit, and what passes is
// encoded for each guest, and understood by the agent's decoder.
#include "link/told.hpp"

#include "link/definitions.hpp"
#include "protocol/codec.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace understudy::link {
namespace {

// Characters that somebody on the way might not take, as TOML writes them.
const std::vector<std::string> kCharacters{"a",           "\\\\",    "\\\"",    "\\t",     "\\n",
                                           "\\u001b",     "\\u0000", "\\u007f", "\\u0085", "\xc3\xa4",
                                           "\\U0010ffff", "=",       " "};

rc::Gen<std::string> text() {
  return rc::gen::mapcat(
      rc::gen::weightedOneOf<std::size_t>(
          {{6, rc::gen::inRange<std::size_t>(0, 8)}, {1, rc::gen::inRange<std::size_t>(4000, 4097)}}),
      [](std::size_t length) {
        return rc::gen::map(rc::gen::pair(rc::gen::elementOf(kCharacters), rc::gen::elementOf(kCharacters)),
                            [length](const auto& two) {
                              std::string all = two.first;
                              for (std::size_t i = 0; i < length; ++i) all += i % 9 == 8 ? two.second : "a";
                              return all;
                            });
      });
}

std::string application(int number, const std::string& argument, const std::string& variable, int repeats) {
  std::string toml = fmt::format(
      "[[application]]\nname = \"app{}\"\nguests = [\"alpha\"]\nmemory = \"1 MiB\"\nstart = [\"/bin/app\", "
      "\"{}\"]\n",
      number, argument);
  toml += "environment = { ";
  for (int i = 0; i < repeats; ++i) toml += fmt::format("{}V{} = \"{}\"", i == 0 ? "" : ", ", i, variable);
  return toml + " }\n";
}

const std::string kHead =
    "[pool]\nmemory = \"8 GiB\"\n[image]\nkernel = \"k\"\ninitramfs = \"i\"\ndisk = \"d\"\n[[guest]]\nname = "
    "\"alpha\"\n"
    "base_memory = \"512 MiB\"\n";

RC_GTEST_PROP(Told, EveryGuestUnderstandsWhatWasAccepted, ()) {
  std::string toml = kHead;
  const int applications = *rc::gen::inRange(1, 4);
  for (int number = 0; number < applications; ++number)
    toml += application(number, *text(), *text(), *rc::gen::inRange(0, 12));
  const auto config = config::parse(toml, "drawn.toml");
  const bool accepted = config && check_told(*config).empty();
  RC_CLASSIFY(accepted, "accepted");
  if (!accepted) return;
  const auto line = protocol::encode(protocol::ToAgent(welcome_for(*config, {{0}, 1})));
  RC_ASSERT(line.has_value());
  RC_ASSERT(protocol::decode_to_agent(std::string_view(*line).substr(0, line->size() - 1)).has_value());
}

TEST(Told, AnEnvironmentThatNoMessageHoldsIsRefusedAtItsGuest) {
  const std::string value(4000, 'x');
  const auto fits = config::parse(kHead + application(0, "a", value, 10), "f.toml");
  ASSERT_TRUE(fits);
  EXPECT_TRUE(check_told(*fits).empty());
  const auto config = config::parse(kHead + application(0, "a", value, 17), "f.toml");
  ASSERT_TRUE(config);
  const config::Errors errors = check_told(*config);
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0].find("f.toml:7:1: guest \"alpha\" cannot be told"), 0U) << errors[0];
}

}  // namespace
}  // namespace understudy::link

// docs/limits.md is made from limits_of_guests.cpp, limits_of_the_host.cpp and the headers that they include.
// When a limit has changed:
//   UNDERSTUDY_GOLDEN=write build/bin/daemon_tests --gtest_filter='LimitsDocument.*'
#include "limits_table.hpp"
#include "tried_by.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>

namespace understudy::documents {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHead = R"(# Limits

What each party can use up, and what happens then. This file is made from the sources: the figures are the constants of
the headers named in the column *in* (below `src/`). Do not edit it; after a change of a limit, or of the words in
`tests/unit/daemon/limits_of_*.cpp`, renew it:

    UNDERSTUDY_GOLDEN=write build/bin/daemon_tests --gtest_filter='LimitsDocument.*'

A constant of `src` whose name says that it is a limit has a row here, or stands in `no_limits.cpp` there with the reason
why it is nobody's limit: a test fails otherwise. Times that something is waited for are not here: those that a user sets
are in docs/configuration.md, and one that passes is the event `limit-passed` or an event of its own. *Nobody yet* in the
last column: no test tries that bound.
)";

// With the next constant in the place of each {}.
std::string filled(const std::string& words, const Limit& limit, std::size_t& next) {
  std::string text;
  for (std::size_t at = 0; at < words.size(); ++at) {
    if (words.compare(at, 2, "{}") != 0) {
      text += words[at];
      continue;
    }
    if (next < limit.constants.size()) text += limit.constants[next].text;
    ++next;
    ++at;
  }
  return text;
}

std::string row(const Limit& limit) {
  std::size_t next = 0;
  const std::string figures = filled(limit.figures, limit, next);
  const std::string beyond = filled(limit.beyond, limit, next);
  EXPECT_EQ(next, limit.constants.size()) << limit.what << ": a {} for each constant";
  const std::string file = limit.file.empty() ? "" : "`" + limit.file + "`";
  std::string text = "|";
  for (const std::string& cell : {limit.what, figures, limit.each, beyond, file, limit.tried})
    text += cell.empty() ? " |" : " " + cell + " |";
  return text + "\n";
}

std::string document() {
  std::string text = kHead;
  for (const Party& party : limits()) {
    text += "\n## " + party.title + "\n\n" + party.text + "\n\n";
    text += "| what | limit | for each | beyond it | in | tried by |\n|---|---|---|---|---|---|\n";
    for (const Limit& limit : party.limits) text += row(limit);
  }
  return text;
}

// The constant's own name: kMostEvents of EventLog::kMostEvents.
std::string last_part(const std::string& name) {
  const std::size_t colon = name.rfind(':');
  return colon == std::string::npos ? name : name.substr(colon + 1);
}

using Constant = std::pair<std::string, std::string>;  // file in src, name

std::set<Constant> constants_of_sources() {
  const std::regex constant(R"(constexpr [\w:<> ]*?\b(k[A-Z]\w*)\s*[={])");
  std::set<Constant> all;
  for (const auto& entry : fs::recursive_directory_iterator(root() / "src")) {
    const std::string file = fs::relative(entry.path(), root() / "src").string();
    if (entry.path().extension() != ".cpp" && entry.path().extension() != ".hpp") continue;
    if (file.starts_with("sim/") || file.starts_with("cli/")) continue;  // of their user's own process
    const std::string text = read(entry.path());
    for (std::sregex_iterator each(text.begin(), text.end(), constant), end; each != end; ++each)
      all.emplace(file, (*each)[1]);
  }
  return all;
}

bool sounds_like_a_limit(const std::string& name) {
  static const std::regex kLimit(
      R"(k(Most|Max|Longest|Largest|Deepest|Kept|LeftFree|Reserved|AtOnce|Backlog|Chunk)([A-Z]\w*)?|k[a-zA-Z]+sPerSecond)");
  return std::regex_match(name, kLimit);
}

TEST(LimitsDocument, SaysWhatTheSourcesSay) {
  const fs::path file = root() / "docs" / "limits.md";
  const std::string now = document();
  if (const char* golden = std::getenv("UNDERSTUDY_GOLDEN");
      golden != nullptr && std::string(golden) == "write")
    std::ofstream(file) << now;
  EXPECT_EQ(read(file), now) << "renew it: UNDERSTUDY_GOLDEN=write build/bin/daemon_tests "
                                "--gtest_filter='LimitsDocument.*'";
}

TEST(LimitsDocument, EachFigureIsAConstantOfTheFileThatIsNamed) {
  const std::set<Constant> constants = constants_of_sources();
  EXPECT_GT(constants.size(), 200U);
  for (const Party& party : limits()) {
    for (const Limit& limit : party.limits) {
      for (const Figure& figure : limit.constants)
        EXPECT_EQ(constants.count({limit.file, last_part(figure.name)}), 1U)
            << limit.file << " has no " << figure.name;
    }
  }
  for (const NoLimit& none : no_limits()) {
    EXPECT_EQ(constants.count({none.file, none.name}), 1U)
        << none.file << " has no " << none.name << " any more";
    EXPECT_FALSE(none.why.empty()) << none.name;
  }
}

TEST(LimitsDocument, EveryLimitOfTheSourcesHasARow) {
  std::set<Constant> listed;
  for (const Party& party : limits()) {
    for (const Limit& limit : party.limits) {
      for (const Figure& figure : limit.constants) listed.emplace(limit.file, last_part(figure.name));
    }
  }
  for (const NoLimit& none : no_limits()) listed.emplace(none.file, none.name);
  for (const auto& [file, name] : constants_of_sources()) {
    if (!sounds_like_a_limit(name)) continue;
    EXPECT_EQ(listed.count({file, name}), 1U)
        << "src/" << file << ": " << name
        << " has no row in limits_of_guests.cpp or limits_of_the_host.cpp (a constant in a .cpp file moves "
           "to a "
        << "header for that), and is not in no_limits() either";
  }
}

TEST(LimitsDocument, TheTestsThatItNamesExist) {
  const Tests tests;
  for (const Party& party : limits()) {
    for (const Limit& limit : party.limits) {
      for (const std::string& name : names_in(limit.tried))
        EXPECT_TRUE(limit.tried == kNobodyYet || tests.knows(name))
            << limit.what << ": there is no test " << name;
    }
  }
}

TEST(TriedBy, KnowsTestsByEachOfTheirNames) {
  const Tests tests;
  for (const char* name :
       {"way_test", "protocol/limits_test", "WayTest", "TriedBy.KnowsTestsByEachOfTheirNames",
        "e2e.stolen_port", "fuzz.qmp", "sim.swarm", "formal.model"})
    EXPECT_TRUE(tests.knows(name)) << name;
  for (const char* name : {"no_way_test", "e2e.stolen", "NoSuite", "TriedBy.KnowsTests", "fuzz.nothing",
                           "sim.nothing", "", "a sentence"})
    EXPECT_FALSE(tests.knows(name)) << name;
  EXPECT_THAT(names_in("`a_test`, e2e.b,`C.D` "), testing::ElementsAre("a_test", "e2e.b", "C.D"));
}

}  // namespace
}  // namespace understudy::documents

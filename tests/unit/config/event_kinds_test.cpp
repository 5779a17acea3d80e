// A hook can be on an event only when its kind is listed; what the sources say is held against the list.
#include "core/notice_kinds.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace understudy::core {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& file) {
  std::ifstream in(file);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

fs::path root() {
  return fs::path(TEST_DATA_DIR).parent_path().parent_path().parent_path();
}

// Whatever is in quotes right behind a severity, both sides of a choice included.
std::set<std::string> kinds_in_sources() {
  const std::regex place(
      R"(Severity::(info|warning|error)(\s*:\s*(core::)?Severity::\w+)?,\s*([^;{]{0,80}?)\"([a-z]+(-[a-z]+)*)\"(\s*:\s*\"([a-z-]+)\")?,)");
  std::set<std::string> kinds;
  for (const auto& entry : fs::recursive_directory_iterator(root() / "src")) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string text = read(entry.path());
    for (std::sregex_iterator each(text.begin(), text.end(), place), end; each != end; ++each) {
      kinds.insert((*each)[5]);
      if ((*each)[8].matched) kinds.insert((*each)[8]);
    }
  }
  return kinds;
}

TEST(EventKinds, TheListIsWhatTheSourcesSay) {
  const std::set<std::string> listed(kNoticeKinds.begin(), kNoticeKinds.end());
  const std::set<std::string> said = kinds_in_sources();
  EXPECT_GT(said.size(), 30U);
  for (const std::string& kind : said)
    EXPECT_EQ(listed.count(kind), 1U) << kind << " is not in core/notice_kinds.hpp";
  for (const std::string& kind : listed)
    EXPECT_EQ(said.count(kind), 1U) << "nothing says " << kind << " any more";
}

TEST(EventKinds, AreInOrderAndDocumented) {
  EXPECT_TRUE(std::is_sorted(kNoticeKinds.begin(), kNoticeKinds.end()));
  const std::string reference = read(root() / "docs" / "configuration.md");
  for (const std::string_view kind : kNoticeKinds)
    EXPECT_THAT(reference, testing::HasSubstr("`" + std::string(kind) + "`"));
}

}  // namespace
}  // namespace understudy::core

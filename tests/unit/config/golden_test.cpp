#include "config/config.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

// Every bad/NAME.toml has a bad/NAME.errors: all that is said about it, line by line. To review a change of
// messages, run the test with UPDATE_GOLDEN=1 in the environment and read the diff.
namespace understudy::config {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::vector<std::string> bad_files() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(TEST_DATA_DIR) / "bad")) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, SaysAllThatIsWrong) {
  const fs::path base = fs::path(TEST_DATA_DIR) / "bad" / GetParam();
  const auto config = parse(read(base.string() + ".toml"), GetParam() + ".toml");
  ASSERT_FALSE(config.has_value()) << "this file was accepted";
  std::string said;
  for (const std::string& error : config.error()) said += error + "\n";
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(base.string() + ".errors") << said;
  EXPECT_EQ(said, read(base.string() + ".errors"));
}

INSTANTIATE_TEST_SUITE_P(Bad, Golden, testing::ValuesIn(bad_files()), [](const auto& name) {
  std::string word = name.param;
  std::replace(word.begin(), word.end(), '-', '_');
  return word;
});

TEST(GoldenFiles, AreThereAndInPairs) {
  EXPECT_GE(bad_files().size(), 15u);
  for (const auto& entry : fs::directory_iterator(fs::path(TEST_DATA_DIR) / "bad")) {
    fs::path other = entry.path();
    other.replace_extension(entry.path().extension() == ".toml" ? ".errors" : ".toml");
    EXPECT_TRUE(fs::exists(other)) << entry.path() << " stands alone";
  }
}

}  // namespace
}  // namespace understudy::config

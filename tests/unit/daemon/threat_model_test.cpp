// What docs/threat-model.md claims is tried by somebody: each row of its tables that have the column "tried
// by" names tests, and each name is one of a test that is there.
#include "tried_by.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <sstream>

namespace understudy::documents {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNothingClaimed = "–";

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> all;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) {
    const std::size_t first = cell.find_first_not_of(' ');
    all.push_back(first == std::string::npos ? ""
                                             : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
  }
  return all;
}

// Of every table with that column: its heading, and its rows.
struct Table {
  std::string section;
  std::vector<std::vector<std::string>> rows;
};

std::vector<Table> tables_with_tests(const std::string& document) {
  std::vector<Table> tables;
  std::string section = "# ";
  bool inside = false;
  std::istringstream in(document);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("#")) section = line;
    if (!line.starts_with("|")) {
      inside = false;
    } else if (cells(line).back() == "tried by") {
      tables.push_back({section, {}});
      inside = true;
    } else if (inside && !line.starts_with("|---")) {
      tables.back().rows.push_back(cells(line));
    }
  }
  return tables;
}

TEST(ThreatModel, EveryRowNamesTestsThatExist) {
  const Tests tests;
  const auto tables = tables_with_tests(read(root() / "docs" / "threat-model.md"));
  std::vector<std::string> sections;
  for (const Table& table : tables) {
    sections.push_back(table.section);
    EXPECT_GE(table.rows.size(), 4U) << table.section;
    for (const auto& row : table.rows) {
      const bool trusted = row.size() == 5 && row[1] == "yes";
      EXPECT_EQ(row.back() == kNothingClaimed, trusted) << row.front() << ": " << row.back();
      for (const std::string& name : names_in(row.back()))
        EXPECT_TRUE(trusted || tests.knows(name)) << row.front() << ": there is no test \"" << name << '"';
    }
  }
  EXPECT_THAT(sections, testing::UnorderedElementsAre("# Threat model", "## What stopped means",
                                                      "## What proves that something is ours",
                                                      "## What a guest can make Understudy do is bounded"));
}

// In sentences, too, and in the other documents.
TEST(ThreatModel, TestsThatDocumentsNameExist) {
  const Tests tests;
  const std::regex name(R"((e2e\.\w+)|`((\w+/)?\w+_test)`)");
  std::size_t found = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root() / "docs")) {
    if (entry.path().extension() != ".md") continue;
    const std::string text = read(entry.path());
    for (std::sregex_iterator each(text.begin(), text.end(), name), end; each != end; ++each, ++found) {
      const std::string test = (*each)[1].matched ? (*each)[1] : (*each)[2];
      EXPECT_TRUE(tests.knows(test)) << entry.path().filename() << ": there is no test " << test;
    }
  }
  EXPECT_GT(found, 30U);
}

}  // namespace
}  // namespace understudy::documents

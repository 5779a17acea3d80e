#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

// Which tests there are, by the names that documents give them.
namespace understudy::documents {

inline constexpr const char* kNobodyYet = "nobody yet";

[[nodiscard]] std::filesystem::path root();
[[nodiscard]] std::string read(const std::filesystem::path& file);

class Tests {
 public:
  Tests();
  // `file_test` or `folder/file_test` (tests/unit), `Suite` or `Suite.Test` in them, e2e.case
  // (tests/e2e/cases.txt), fuzz.name (tests/fuzz), and names of CTest (tests/CMakeLists.txt).
  [[nodiscard]] bool knows(const std::string& name) const;

 private:
  std::vector<std::string> files_;  // "folder/file_test"
  std::set<std::string> tests_;     // "Suite", "Suite.Test"
  std::vector<std::string> cases_;
  std::string ctest_;
};

// Of "`a_test`, e2e.b, `Suite.Test`": a_test, e2e.b, Suite.Test.
[[nodiscard]] std::vector<std::string> names_in(const std::string& cell);

}  // namespace understudy::documents

#include "tried_by.hpp"

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <utility>

namespace understudy::documents {

namespace fs = std::filesystem;

fs::path root() {
  return fs::path(TEST_DATA_DIR).parent_path().parent_path().parent_path();
}

std::string read(const fs::path& file) {
  std::ifstream in(file);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Tests::Tests() : ctest_(read(root() / "tests" / "CMakeLists.txt")) {
  const std::regex test(R"(\nTEST(_F|_P)?\s*\(\s*(\w+)\s*,\s*(\w+)\s*\))");
  const fs::path unit = root() / "tests" / "unit";
  for (const auto& entry : fs::recursive_directory_iterator(unit)) {
    if (entry.path().extension() != ".cpp") continue;
    files_.push_back(fs::relative(entry.path(), unit).replace_extension().string());
    const std::string text = read(entry.path());
    for (std::sregex_iterator each(text.begin(), text.end(), test), end; each != end; ++each) {
      tests_.insert((*each)[2]);
      tests_.insert((*each)[2].str() + "." + (*each)[3].str());
    }
  }
  std::istringstream cases(read(root() / "tests" / "e2e" / "cases.txt"));
  for (std::string name; cases >> name;) cases_.push_back(name);
}

bool Tests::knows(const std::string& name) const {
  if (name.starts_with("e2e."))
    return std::find(cases_.begin(), cases_.end(), name.substr(4)) != cases_.end();
  if (name.starts_with("fuzz.")) return fs::exists(root() / "tests" / "fuzz" / (name.substr(5) + ".cpp"));
  if (name.ends_with("_test")) {
    return std::any_of(files_.begin(), files_.end(),
                       [&](const std::string& file) { return file == name || file.ends_with("/" + name); });
  }
  if (tests_.count(name) != 0) return true;
  return std::regex_match(name, std::regex(R"(\w+\.\w+)")) &&
         ctest_.find("NAME " + name + " ") != std::string::npos;
}

std::vector<std::string> names_in(const std::string& cell) {
  std::vector<std::string> names;
  std::string name;
  for (const char c : cell + ",") {
    if (c == ',') {
      names.push_back(std::exchange(name, ""));
    } else if (c != '`' && !(c == ' ' && name.empty())) {
      name += c;
    }
  }
  for (std::string& each : names) each.erase(each.find_last_not_of(' ') + 1);
  return names;
}

}  // namespace understudy::documents

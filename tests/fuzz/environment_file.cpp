// An application's environment file. The input is the file; of the variables, IN_FILE is set already by the
// configuration itself.
#include "base/check.hpp"
#include "base/unique_fd.hpp"
#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/report.hpp"
#include "property.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

using namespace understudy;
using namespace understudy::config;

namespace {

constexpr std::size_t kMostErrorBytes = 1000;

using Variables = std::map<std::string, std::string>;

// What becomes of the environment with this file; nothing, and the error: it is refused.
std::optional<Variables> read(std::string_view file, std::string& error) {
  const UniqueFd fd(::memfd_create("environment", MFD_CLOEXEC));
  US_CHECK(fd && ::fchmod(fd.get(), 0600) == 0 &&
           ::write(fd.get(), file.data(), file.size()) == static_cast<ssize_t>(file.size()));
  Draft draft;
  draft.applications.emplace_back();
  draft.applications[0].application.environment = {{"IN_FILE", "1"}};
  draft.applications[0].environment_file.path = "/proc/self/fd/" + std::to_string(fd.get());
  Report report;
  read_environment_files(draft, report);
  if (report.empty()) return draft.applications[0].application.environment;
  const Errors errors = report.take("fuzz.toml");
  US_PROPERTY(errors.size() == 1, file);
  error = errors[0];
  return std::nullopt;
}

// Every line, and whether it is looked at.
template <class Each>
void for_lines(std::string_view file, Each each) {
  while (!file.empty()) {
    const std::string_view line = file.substr(0, file.find('\n'));
    file.remove_prefix(std::min(file.size(), line.size() + 1));
    each(line, !line.empty() && line.front() != '#');
  }
}

// The same file with other values: what could be part of a secret is another letter.
std::string with_other_values(std::string_view file) {
  std::string other;
  for_lines(file, [&](std::string_view line, bool counts) {
    const std::size_t equals = counts ? line.find('=') : std::string_view::npos;
    const std::size_t kept = equals == std::string_view::npos ? line.size() : equals + 1;
    other += line.substr(0, kept);
    for (const char c : line.substr(kept)) other += c >= ' ' && c <= '~' ? (c == 'x' ? 'y' : 'x') : c;
    other += '\n';
  });
  return other;
}

void check_accepted(const Variables& variables, std::string_view file) {
  std::size_t lines = 0;
  for_lines(file, [&](std::string_view line, bool counts) {
    if (!counts) return;
    ++lines;
    const std::size_t equals = line.find('=');
    US_PROPERTY(equals != std::string_view::npos, line);
    const auto found = variables.find(std::string(line.substr(0, equals)));
    US_PROPERTY(found != variables.end() && found->second == line.substr(equals + 1), line);
    US_PROPERTY(found->first != "IN_FILE" && found->first.size() <= kLongestVariable, line);
    US_PROPERTY(found->second.size() <= kLongestArgument, line);
    US_PROPERTY(found->second.find('\0') == std::string::npos, line);
  });
  US_PROPERTY(variables.size() == lines + 1 && variables.size() <= kMostVariables, file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view file = fuzz::text_of(data, size);
  std::string error;
  const auto variables = read(file, error);
  std::string other_error;
  const auto others = read(with_other_values(file), other_error);
  // No value changes what is decided or said.
  US_PROPERTY(variables.has_value() == others.has_value(), file);
  if (variables) {
    check_accepted(*variables, file);
  } else {
    fuzz::check_error(error, kMostErrorBytes);
    // The names of two descriptors may differ, and nothing else.
    US_PROPERTY(error == other_error, error);
  }
  return 0;
}

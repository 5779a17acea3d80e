// Secrets belong in no file that everybody may read, and a configuration is often one that everybody should
// be able to. So an application's environment can stand in a file of its own, which has to be closed to
// others.
#include "base/shown.hpp"
#include "base/unique_fd.hpp"
#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/report.hpp"
#include "config/table_reader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::config {

namespace {

class EnvironmentFile {
 public:
  EnvironmentFile(const ApplicationDraft& draft, Application& application, Report& report)
      : at_(draft.environment_file.at),
        file_(draft.environment_file.path),
        application_(application),
        report_(report) {}

  void read() {
    const auto text = contents();
    if (!text) return;
    std::string_view rest = *text;
    for (int number = 1; !rest.empty(); ++number) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      if (line.empty() || line.front() == '#') continue;
      if (!take(line, number)) return;
    }
  }

 private:
  std::optional<std::string> contents() {
    // Whatever it is, opening it waits for nobody.
    const UniqueFd fd(::open(file_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0)
      return wrong(
          fmt::format("cannot be read: {}; check the path and its permissions", std::strerror(errno)));
    if (!S_ISREG(info.st_mode)) return wrong("is no regular file");
    if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
      return wrong(
          fmt::format("is open to others (mode {:04o}), and may hold secrets; close it with `chmod 0600 {}`",
                      info.st_mode & 07777U, file_.string()));
    if (info.st_uid != 0 && info.st_uid != ::geteuid())
      return wrong(fmt::format("belongs to somebody else (uid {})", info.st_uid));
    std::string text(kLargestEnvironmentFileBytes + 1, '\0');
    std::size_t have = 0;
    while (have < text.size()) {
      const ssize_t got = ::read(fd.get(), text.data() + have, text.size() - have);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return wrong(fmt::format("cannot be read: {}", std::strerror(errno)));
      if (got == 0) break;
      have += static_cast<std::size_t>(got);
    }
    if (have > kLargestEnvironmentFileBytes)
      return wrong(fmt::format("is larger than {} bytes", kLargestEnvironmentFileBytes));
    text.resize(have);
    return text;
  }

  // Its value is never shown: it may be the secret.
  bool take(std::string_view line, int number) {
    const auto equals = line.find('=');
    const std::string name(line.substr(0, equals));
    if (equals == std::string_view::npos || !usable_variable(name))
      return wrong_line(
          number, "is not NAME=VALUE, with a name of letters, digits and _, not beginning with a digit");
    const std::string value(line.substr(equals + 1));
    if (has_controls(value)) return wrong_line(number, "has a control character (a carriage return?)");
    if (value.size() > kLongestArgument)
      return wrong_line(number, fmt::format("has a value of more than {} bytes", kLongestArgument));
    if (application_.environment.count(name) != 0)
      return wrong_line(number, fmt::format("sets {}, which is set already", name));
    if (application_.environment.size() == kMostVariables)
      return wrong_line(
          number, fmt::format("is one too many: there may be {} variables, those of environment included",
                              kMostVariables));
    application_.environment[name] = value;
    return true;
  }

  bool wrong_line(int number, std::string_view what) {
    (void)wrong(fmt::format("line {} {}", number, what));
    return false;
  }
  std::nullopt_t wrong(std::string_view what) {
    report_.add(at_, fmt::format("environment_file {}: {}", shown(file_.string(), kLongestArgument), what));
    return std::nullopt;
  }

  Where at_;
  std::filesystem::path file_;
  Application& application_;
  Report& report_;
};

}  // namespace

void read_environment_files(Draft& draft, Report& report) {
  for (ApplicationDraft& each : draft.applications) {
    if (!each.environment_file.path.empty()) EnvironmentFile(each, each.application, report).read();
  }
}

}  // namespace understudy::config

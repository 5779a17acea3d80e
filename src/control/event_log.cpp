#include "control/event_log.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>

#include <boost/json.hpp>

namespace understudy::control {

namespace {

namespace json = boost::json;

constexpr std::size_t kKeptEvents = 5000;
// Of a former daemon's file; as many events as are kept fit into it many times over.
constexpr std::uintmax_t kReadBackBytes = 8ULL << 20;

const char* severity_name(core::Severity severity) {
  switch (severity) {
    case core::Severity::info: return "info";
    case core::Severity::warning: return "warning";
    case core::Severity::error: return "error";
  }
  return "?";
}

}  // namespace

std::string wall_clock(Duration from_now) {
  const auto at = std::chrono::system_clock::now() + from_now;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(at));
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count() % 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  char text[48];
  std::snprintf(text, sizeof text, "%s.%03dZ", date, static_cast<int>(ms));
  return text;
}

EventLog::EventLog(const core::Setup& setup, const std::filesystem::path& file,
                   const std::filesystem::path& reports_file)
    : setup_(setup),
      reports_file_(reports_file),
      fd_(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)),
      reports_(read_reports(reports_file, setup)) {
  read_back(file);
  if (!fd_) std::fprintf(stderr, "cannot write the event log %s: %s\n", file.c_str(), std::strerror(errno));
}

void EventLog::notice(Time at, const core::Notice& notice) {
  (void)at;
  json::object line{{"number", ++number_},
                    {"time", wall_clock()},
                    {"severity", severity_name(notice.severity)},
                    {"kind", notice.kind},
                    {"text", notice.text}};
  if (notice.guest) line["guest"] = setup_.guest(*notice.guest).name;
  if (notice.app) line["application"] = setup_.app(*notice.app).name;
  add(json::serialize(line));
}

void EventLog::report(Time at, const core::TakeoverReport& report) {
  (void)at;
  reports_.of[report.app] = report;
  reports_.last = report.app;
  const Result<void> written = write_reports(reports_file_, setup_, reports_);
  if (!written) {
    std::fprintf(stderr, "%s: the next daemon will not know the latest report\n",
                 written.error().message.c_str());
  }
}

// The latest events of a former daemon. Numbers go on where they were, so that nobody who follows them takes a new
// event for one that he has seen.
void EventLog::read_back(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return;
  const auto size = static_cast<std::uintmax_t>(std::max<std::streamoff>(0, in.tellg()));
  const std::uintmax_t from = size - std::min(size, kReadBackBytes);
  in.seekg(static_cast<std::streamoff>(from));
  std::string line;
  if (from > 0) std::getline(in, line);  // the rest of one
  while (std::getline(in, line)) {
    torn_ = in.eof();
    boost::system::error_code error;
    const json::value value = json::parse(line, error);
    const json::value* number =
        !error && value.is_object() ? value.get_object().if_contains("number") : nullptr;
    if (number == nullptr) continue;
    const auto counted = number->to_number<std::uint64_t>(error);
    if (error) continue;
    number_ = std::max(number_, counted);
    lines_.push_back(std::move(line));
    if (lines_.size() > kKeptEvents) lines_.pop_front();
  }
}

const core::TakeoverReport* EventLog::last_report(std::optional<core::AppId> app) const {
  if (!app) app = reports_.last;
  const auto found = app ? reports_.of.find(*app) : reports_.of.end();
  return found != reports_.of.end() ? &found->second : nullptr;
}

void EventLog::add(std::string line) {
  write(line);
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
  std::erase_if(followers_, [&](const Follower& follower) { return !follower(line); });
  lines_.push_back(std::move(line));
  if (lines_.size() > kKeptEvents) lines_.pop_front();
}

void EventLog::write(const std::string& line) {
  if (!fd_) return;
  const std::string text = (torn_ ? "\n" : "") + line + "\n";
  const ssize_t put = ::write(fd_.get(), text.data(), text.size());
  if (put > 0) torn_ = text[static_cast<std::size_t>(put) - 1] != '\n';
  const bool refused = put != static_cast<ssize_t>(text.size());
  if (refused && !refuses_) {
    std::fprintf(stderr,
                 "cannot write the event log: %s; it goes on in memory only, until that works again\n",
                 put < 0 ? std::strerror(errno) : "no room for a whole line");
  }
  refuses_ = refused;
}

}  // namespace understudy::control

#include "control/event_log.hpp"

#include "base/bounded_file.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <limits>

#include <boost/json.hpp>

namespace understudy::control {

namespace {

namespace json = boost::json;

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
                   const std::filesystem::path& reports_file, const std::filesystem::path& log)
    : setup_(setup),
      reports_file_(reports_file),
      budget_(setup),
      writer_(file, log),
      reports_(read_reports(reports_file, setup)) {
  read_back(file);
}

void EventLog::notice(Time at, const core::Notice& notice) {
  if (budget_.admits(at, notice)) tell(notice);
  tell_held_back(at);
}

void EventLog::tell_held_back(Time at) {
  for (const core::Notice& notice : budget_.held_back(at)) tell(notice);
}

void EventLog::tell(const core::Notice& notice) {
  json::object line{{"number", ++number_},
                    {"time", wall_clock()},
                    {"severity", severity_name(notice.severity)},
                    {"kind", notice.kind},
                    {"text", notice.text}};
  EventHistory::Origin origin{"", "", notice.kind};
  if (notice.guest) line["guest"] = origin.guest = setup_.guest(*notice.guest).name;
  if (notice.app) line["application"] = origin.application = setup_.app(*notice.app).name;
  add(origin, json::serialize(line));
}

void EventLog::report(Time at, const core::TakeoverReport& report) {
  (void)at;
  reports_.of[report.app] = report;
  reports_.last = report.app;
  background_.run([file = reports_file_, &setup = setup_, reports = reports_] {
    const Result<void> written = write_reports(file, setup, reports);
    if (written) return;
    std::fprintf(stderr, "%s: the next daemon will not know the latest report\n",
                 written.error().message.c_str());
  });
}

// The latest events of a former daemon, each once: one that died while it began a new file left them in two.
// Numbers go on where they were, so that nobody who follows them takes a new event for one that he has seen.
void EventLog::read_back(const std::filesystem::path& file) {
  for (std::string& line : last_lines(file, std::numeric_limits<std::size_t>::max())) {
    const auto event = read_event_line(line);
    if (!event || event->number <= number_) continue;
    number_ = event->number;
    history_.add(event->origin, std::move(line));
  }
}

const core::TakeoverReport* EventLog::last_report(std::optional<core::AppId> app) const {
  if (!app) app = reports_.last;
  const auto found = app ? reports_.of.find(*app) : reports_.of.end();
  return found != reports_.of.end() ? &found->second : nullptr;
}

void EventLog::add(const EventHistory::Origin& origin, std::string line) {
  writer_.add(line);
  std::erase_if(followers_, [&](const Follower& follower) { return !follower(line); });
  history_.add(origin, std::move(line));
}

}  // namespace understudy::control

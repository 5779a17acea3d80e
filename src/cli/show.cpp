#include "base/units.hpp"
#include "cli/cli.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace understudy::cli {

std::string text(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

namespace {

namespace json = boost::json;

constexpr std::size_t kWordsColumn = 26;  // of an event's line, behind the time and the severity

std::uint64_t number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  boost::system::error_code error;
  return value != nullptr ? value->to_number<std::uint64_t>(error) : 0;
}

double real(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  boost::system::error_code error;
  return value != nullptr ? value->to_number<double>(error) : 0;
}

const json::array& list(const json::object& object, std::string_view key) {
  static const json::array kNone;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

std::string or_dash(const std::string& word) {
  return word.empty() ? "-" : word;
}

// Columns as wide as their widest cell; the last one is not padded.
class Grid {
 public:
  explicit Grid(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  void print() const {
    std::vector<std::size_t> widths(rows_.front().size(), 0);
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : rows_) {
      std::string line = "  ";
      for (std::size_t i = 0; i < row.size(); ++i) {
        line += i + 1 < row.size() ? fmt::format("{:<{}}  ", row[i], widths[i]) : row[i];
      }
      line.erase(line.find_last_not_of(' ') + 1);
      std::puts(line.c_str());
    }
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Rows that differ only in which area they are, shown as one line.
struct Group {
  json::object row;
  std::size_t count = 1;
  std::uint64_t bytes = 0;
  std::string last_id;
};

std::vector<Group> grouped(const json::array& rows) {
  std::vector<Group> groups;
  for (const json::value& value : rows) {
    const json::object& row = value.as_object();
    const bool area = text(row, "id").starts_with("area-");
    const auto same = [&](std::string_view key) { return text(groups.back().row, key) == text(row, key); };
    if (area && !groups.empty() && text(groups.back().row, "id").starts_with("area-") && same("use") &&
        same("user") && same("attached_to") && same("takeover_target") && same("state")) {
      ++groups.back().count;
      groups.back().bytes += number(row, "bytes");
      groups.back().last_id = text(row, "id");
    } else {
      groups.push_back({row, 1, number(row, "bytes"), text(row, "id")});
    }
  }
  return groups;
}

// "440 ms", or "-" for what was never measured.
std::string about(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return "-";
  return fmt::format("{:.0f} ms", value->to_number<double>());
}

// "440 ms (3 takeovers: 388 to 681 ms)": how long, and what that rests on.
std::string within_text(const json::object& app) {
  const std::string rests_on = text(app, "predicted_rests_on");
  return about(app, "predicted_takeover_ms") + (rests_on.empty() ? "" : " (" + rests_on + ")");
}

// "2 h ago (start, beta)", "expired", "never".
std::string proven_text(const json::object& app) {
  const json::value* value = app.if_contains("proven");
  if (value == nullptr || !value->is_object()) return "-";
  const json::object& proven = value->get_object();
  const std::string state = text(proven, "state");
  if (state != "proven") {
    const json::value* hot = app.if_contains("hot_standby");
    return hot != nullptr && hot->is_bool() && !hot->get_bool() ? "-" : state;
  }
  const std::uint64_t age_s = number(proven, "age_s");
  const std::string ago = age_s < 120      ? fmt::format("{} s", age_s)
                          : age_s < 7200   ? fmt::format("{} min", age_s / 60)
                          : age_s < 172800 ? fmt::format("{} h", age_s / 3600)
                                           : fmt::format("{} d", age_s / 86400);
  return fmt::format("{} ago ({}, {})", ago, text(proven, "what"), text(proven, "on"));
}

void print_vcpus(const json::array& rows) {
  std::puts("");
  Grid grid({"USE", "VCPUS", "ROWS", "USER", "ATTACHED TO", "ON A FAULT TO", "STATE"});
  for (const json::value& value : rows) {
    const json::object& row = value.as_object();
    const std::uint64_t count = number(row, "vcpus");
    const std::uint64_t wanted = number(row, "wanted");
    const std::string why = text(row, "why");
    grid.row(
        {text(row, "use"), count == wanted ? std::to_string(count) : fmt::format("{} of {}", count, wanted),
         text(row, "id"), or_dash(text(row, "user")), or_dash(text(row, "attached_to")),
         or_dash(text(row, "takeover_target")), text(row, "state") + (why.empty() ? "" : " (" + why + ")")});
  }
  grid.print();
}

// What runs with an older configuration, and in what that differs.
void print_outdated(const json::array& guests) {
  for (const json::value& value : guests) {
    const json::object& guest = value.as_object();
    const json::value* differs = guest.if_contains("differs");
    if (differs == nullptr || !differs->is_array() || differs->get_array().empty()) continue;
    fmt::print(
        "\n  OUTDATED: {} was started with another configuration; its next start takes the present one\n",
        text(guest, "name"));
    for (const json::value& each : differs->get_array()) {
      const json::object& difference = each.as_object();
      fmt::print("    {}: {}, now {}\n", text(difference, "what"), text(difference, "has"),
                 text(difference, "file"));
    }
  }
}

}  // namespace

void print_status(const json::object& status) {
  Grid apps({"APPLICATION", "STATE", "ACTIVE", "STANDBY", "PROTECTED", "WITHIN ABOUT", "PROVEN", "WHY NOT"});
  for (const json::value& value : list(status, "applications")) {
    const json::object& app = value.as_object();
    const json::value* is = app.if_contains("protected");
    const bool is_protected = is != nullptr && is->is_bool() && is->get_bool();
    apps.row({text(app, "name"), text(app, "state"), or_dash(text(app, "active")),
              or_dash(text(app, "standby")), is_protected ? "yes" : "no",
              is_protected ? within_text(app) : "-", proven_text(app), text(app, "why")});
  }
  apps.print();
  std::puts("");
  Grid guests({"GUEST", "STATE", "RUN", "BASE", "AREAS", "VCPUS", "ON THE HOST"});
  for (const json::value& value : list(status, "guests")) {
    const json::object& guest = value.as_object();
    const std::uint64_t more = number(guest, "application_vcpus");
    const bool hands_off = !text(guest, "maintenance_until").empty();
    guests.row({text(guest, "name"), text(guest, "state") + (hands_off ? ", maintenance" : ""),
                std::to_string(number(guest, "run")), format_size(number(guest, "base_bytes")),
                format_size(number(guest, "areas_bytes")),
                fmt::format("{}{}", number(guest, "base_vcpus"), more > 0 ? fmt::format(" + {}", more) : ""),
                format_size(number(guest, "host_bytes"))});
  }
  guests.print();
  for (const char* what : {"guests", "applications"}) {
    for (const json::value& value : list(status, what)) {
      const std::string until = text(value.as_object(), "maintenance_until");
      if (until.empty()) continue;
      const std::string name = text(value.as_object(), "name");
      fmt::print(
          "\n  MAINTENANCE of {} until {}: its faults move nothing; `understudy maintenance {} --end` ends "
          "it\n",
          name, until, name);
    }
  }
  print_outdated(list(status, "guests"));
  fmt::print("\n  guests run under {} ({})\n", text(status, "accelerator"),
             text(status, "accelerator_reason"));
  fmt::print("  {}\n", kStateIsLost);
  if (!text(status, "journal_trouble").empty())
    fmt::print("  NO MOVES: {}\n", text(status, "journal_trouble"));
}

void print_table(const json::object& table) {
  Grid grid({"USE", "BYTES", "ROWS", "USER", "ATTACHED TO", "ON A FAULT TO", "STATE"});
  std::uint64_t sum = 0;
  for (const Group& group : grouped(list(table, "rows"))) {
    const json::object& row = group.row;
    const std::string id = text(row, "id");
    grid.row({text(row, "use"), format_size(group.bytes),
              group.count == 1 ? id : fmt::format("{} .. {} ({})", id, group.last_id.substr(5), group.count),
              or_dash(text(row, "user")), or_dash(text(row, "attached_to")),
              or_dash(text(row, "takeover_target")), text(row, "state")});
    sum += group.bytes;
  }
  grid.print();
  fmt::print("  {} in all of a pool of {}\n", format_size(sum), format_size(number(table, "pool_bytes")));
  const std::uint64_t over = number(table, "over_budget_bytes");
  if (over > 0)
    fmt::print("  OVER BUDGET by {}: raise [pool] memory, or the guests' overhead\n", format_size(over));
  print_vcpus(list(table, "vcpus"));
}

void print_rehearsal(const json::object& application) {
  const json::object& done = application.at("rehearsal").as_object();
  const json::object& proven = application.at("proven").as_object();
  const json::value* flag = done.if_contains("start");
  const bool start = flag != nullptr && flag->is_bool() && flag->get_bool();
  const bool passed = done.at("passed").as_bool();
  fmt::print("  {}: rehearsed on {}{}, {}\n\n", text(application, "name"), text(done, "on"),
             start ? ", started there in isolation" : "", passed ? "passed" : "did not pass");
  for (const json::value& value : list(done, "phases")) {
    const json::object& phase = value.as_object();
    if (!start && text(phase, "name") == "start") continue;
    fmt::print("  {:<8} {:>9.1f} ms\n", text(phase, "name"), real(phase, "ms"));
  }
  fmt::print("  {:<8} {:>9.1f} ms\n\n", "total", real(done, "total_ms"));
  fmt::print("  attached {} of {}, all of it taken back\n", format_size(number(done, "bytes")),
             format_size(number(done, "wanted_bytes")));
  if (passed) {
    fmt::print("  proven until {}\n", text(proven, "until"));
  } else {
    fmt::print("  why: {}\n", text(done, "why"));
  }
}

namespace {

// Guests where it was to be started on the way, in vain.
void print_attempts(const json::object& report) {
  const std::uint64_t count = number(report, "attempts_in_vain");
  if (count == 0) return;
  fmt::print("  {:<8} {:>9.1f} ms  {} in vain\n", "failed", real(report, "in_vain_ms"),
             count == 1 ? "1 attempt" : fmt::format("{} attempts", count));
  for (const json::value& value : list(report, "attempts")) {
    const json::object& attempt = value.as_object();
    fmt::print("           {:>9.1f} ms  on {}: {}\n", real(attempt, "ms"), text(attempt, "on"),
               or_dash(text(attempt, "why")));
  }
}

}  // namespace

void print_report(const json::object& report) {
  const std::string from = text(report, "from");
  fmt::print("  {}: {}\n", text(report, "application"), text(report, "cause"));
  fmt::print("  {} -> {}, epoch {}, {}\n\n", from.empty() ? "(nowhere)" : from, or_dash(text(report, "to")),
             number(report, "epoch"), text(report, "result"));
  double longest = 0;
  for (const json::value& phase : list(report, "phases"))
    longest = std::max(longest, real(phase.as_object(), "ms"));
  const double waited_ms = real(report, "waited_ms");
  for (const json::value& value : list(report, "phases")) {
    const json::object& phase = value.as_object();
    const double ms = real(phase, "ms");
    const auto bar = longest > 0 ? static_cast<std::size_t>(std::lround(ms / longest * 40.0)) : 0;
    fmt::print("  {:<8} {:>9.1f} ms  {}\n", text(phase, "name"), ms, std::string(bar, '#'));
  }
  if (waited_ms >= 0.05)
    fmt::print("  {:<8} {:>9.1f} ms  for a guest that could take it\n", "waited", waited_ms);
  print_attempts(report);
  fmt::print("  {:<8} {:>9.1f} ms\n\n", "total", real(report, "total_ms"));
  fmt::print("  moved {}, zeroed {}, copied {}\n", format_size(number(report, "bytes_moved")),
             format_size(number(report, "bytes_zeroed")), format_size(number(report, "bytes_copied")));
}

void print_event(const json::object& event) {
  const std::string time = text(event, "time");
  // The time of day is what a person compares; the file and --json have the date. Its Z says that it is UTC.
  const std::string clock = time.size() > 23 ? time.substr(11, 13) : time;
  const std::string severity = text(event, "severity");
  // Some of it may be what an application printed: no line of that can pass for an event.
  std::string words = text(event, "text");
  for (std::size_t at = words.find('\n'); at != std::string::npos; at = words.find('\n', at + 1))
    words.replace(at, 1, "\n" + std::string(kWordsColumn, ' ') + "| ");
  fmt::print("  {}  {:<7}  {}\n", clock, severity == "info" ? "" : severity, words);
  std::fflush(stdout);
}

}  // namespace understudy::cli

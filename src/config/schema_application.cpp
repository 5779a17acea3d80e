#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/listen_address.hpp"
#include "config/table_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace understudy::config {

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

bool is_id(std::string_view text) {
  std::uint32_t id = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), id);
  return code == std::errc() && end == text.data() + text.size() && id <= kMostId;
}

// "app", "61001" or "61001:61000", with a group.
bool usable_user(std::string_view name) {
  const std::string_view number = name.substr(0, name.find(':'));
  if (is_id(number)) return number.size() == name.size() || is_id(name.substr(number.size() + 1));
  if (name.empty() || name.size() > kLongestUser) return false;
  if (std::islower(static_cast<unsigned char>(name.front())) == 0 && name.front() != '_') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return std::islower(static_cast<unsigned char>(c)) != 0 ||
           std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
  });
}

void read_sizes(TableReader& table, ApplicationDraft& draft) {
  Application& application = draft.application;
  draft.sizes_good =
      table.require("memory", "\"512 MiB\"") && table.size("memory", application.memory_bytes, 1_MiB);
  application.minimum_bytes = application.maximum_bytes = application.memory_bytes;
  const bool minimum = table.size("minimum_memory", application.minimum_bytes, 1_MiB);
  const bool maximum = table.size("maximum_memory", application.maximum_bytes, 1_MiB);
  draft.memory_at = table.at("memory");
  draft.minimum_at = table.at("minimum_memory");
  draft.maximum_at = table.at("maximum_memory");
  if (!draft.sizes_good) return;
  const std::string memory = format_size(application.memory_bytes);
  if (minimum && application.minimum_bytes > application.memory_bytes) {
    table.report().add(draft.minimum_at,
                       fmt::format("minimum_memory {} is more than memory {}; lower it, or raise memory",
                                   format_size(application.minimum_bytes), memory));
  }
  if (maximum && application.maximum_bytes < application.memory_bytes) {
    table.report().add(draft.maximum_at,
                       fmt::format("maximum_memory {} is less than memory {}; raise it, or lower memory",
                                   format_size(application.maximum_bytes), memory));
  }
  draft.sizes_good = (minimum || !table.has("minimum_memory")) && (maximum || !table.has("maximum_memory"));
}

void read_guests(TableReader& table, ApplicationDraft& draft) {
  const Value* list = table.require("guests", "[\"alpha\", \"beta\"]") ? table.list("guests") : nullptr;
  if (list == nullptr) return;
  draft.guests_good = !list->items.empty();
  if (!draft.guests_good) {
    table.report().add(list->at, "guests is empty; name at least one guest, the preferred one first");
  }
  for (const Value& item : list->items) {
    if (item.kind == Value::Kind::string) {
      draft.guests.emplace_back(item.text, item.at);
    } else {
      table.report().add(item.at, fmt::format("a guest in guests is {}, write its name as text in quotes",
                                              kind_name(item.kind)));
      draft.guests_good = false;
    }
  }
}

void read_scratch(TableReader& table, Application& application) {
  const Value* list = table.list("rehearsal_scratch");
  if (list == nullptr) return;
  if (list->items.size() > kMostScratch) {
    table.report().add(list->at, fmt::format("rehearsal_scratch names {} directories, it may name at most {}",
                                             list->items.size(), kMostScratch));
    return;
  }
  for (const Value& item : list->items) {
    const bool text = item.kind == Value::Kind::string;
    const bool fits = text && item.text.size() <= kLongestArgument && !has_controls(item.text);
    if (fits && item.text.starts_with("/") && item.text.size() > 1) {
      application.rehearsal_scratch.push_back(item.text);
    } else {
      table.report().add(item.at,
                         fmt::format("a directory in rehearsal_scratch is {}; write the absolute path of a "
                                     "directory in the guest, such as \"/var/lib/redis\"",
                                     text ? in_quotes(item.text) : std::string(kind_name(item.kind))));
    }
  }
}

void read_environment(TableReader& table, Application& application) {
  const Value* environment = table.table("environment");
  if (environment == nullptr) return;
  if (environment->entries.size() > kMostVariables) {
    table.report().add(environment->at, fmt::format("environment has {} variables, it may have at most {}",
                                                    environment->entries.size(), kMostVariables));
    return;
  }
  TableReader reader = table.inner(*environment, "environment");
  for (const Entry& entry : environment->entries) {
    if (!usable_variable(entry.key)) {
      table.report().add(entry.at,
                         fmt::format("environment variable {} cannot be used; write letters, digits and _, "
                                     "not beginning with a digit",
                                     in_quotes(entry.key)));
    } else if (entry.value.kind == Value::Kind::string && entry.value.text.empty()) {
      application.environment[entry.key] = "";
    } else if (std::string text; reader.text(entry.key, text)) {
      application.environment[entry.key] = text;
    }
  }
}

void read_address(TableReader& table, ApplicationDraft& draft) {
  Address address;
  std::string listen;
  if (table.require("listen", "\"127.0.0.1:6379\"") && table.text("listen", listen)) {
    if (const auto parsed = parse_listen_address(listen)) {
      address.listen_host = parsed->host;
      address.listen_port = parsed->port;
      draft.listen_good = true;
    } else {
      table.report().add(table.at("listen"),
                         fmt::format("listen is {}: {}", in_quotes(listen), parsed.error().message));
    }
  }
  draft.guest_port_good = table.require("port", "6379, the application's port inside the guest") &&
                          table.port("port", address.guest_port);
  table.choice<WhileDown>("while_down", address.while_down,
                          {{"wait", WhileDown::wait}, {"refuse", WhileDown::refuse}});
  table.duration("wait_limit", address.wait_limit, milliseconds(1), hours(1));
  table.flag("reach_check", address.reach_check);
  address.listen_at = table.at("listen");
  draft.guest_port_at = table.at("port");
  draft.application.address = address;
  table.finish();
}

void misplaced(TableReader& table, std::string_view key, std::string_view kind) {
  if (!table.has(key)) return;
  table.report().add(
      table.at(key),
      fmt::format("{} belongs to kind = \"{}\"; remove it, or write kind = \"{}\"", key, kind, kind));
}

void read_health(TableReader& table, const ApplicationDraft& draft, Health& health) {
  const bool kind = table.choice<HealthKind>(
      "kind", health.kind,
      {{"process", HealthKind::process}, {"tcp", HealthKind::tcp}, {"exec", HealthKind::exec}});
  table.port("port", health.port);
  table.command("command", health.command);
  if (kind || !table.has("kind")) {
    if (health.kind != HealthKind::tcp) misplaced(table, "port", "tcp");
    if (health.kind != HealthKind::exec) misplaced(table, "command", "exec");
  }
  if (health.kind == HealthKind::exec) table.require("command", "[\"/usr/bin/program\", \"argument\"]");
  if (health.kind == HealthKind::tcp && !table.has("port")) {
    if (draft.guest_port_good) {
      health.port = draft.application.address->guest_port;
    } else if (!draft.application.address) {
      table.require("port", "6379, the application's port inside the guest");
    }
  }
  table.duration("interval", health.interval, milliseconds(10), hours(1));
  table.duration("limit", health.limit, milliseconds(10), hours(1));
  table.count("failures", health.failures, 1, kMostCounted);
  table.finish();
}

void read_restart(TableReader& table, Restart& restart) {
  table.count("attempts", restart.attempts, 0, kMostCounted);
  table.duration("window", restart.window, seconds(1), hours(24));
  table.duration("delay", restart.delay, Duration(0), hours(1));
  table.duration("maximum_delay", restart.maximum_delay, Duration(0), hours(1));
  if (restart.delay > restart.maximum_delay) {
    table.report().add(
        table.at(table.has("delay") ? "delay" : "maximum_delay"),
        fmt::format("delay {} is more than maximum_delay {}; write maximum_delay = \"{}\" or more",
                    format_duration(restart.delay), format_duration(restart.maximum_delay),
                    format_duration(restart.delay)));
  }
  table.choice<core::FirstResort>(
      "first", restart.first,
      {{"restart", core::FirstResort::restart}, {"takeover", core::FirstResort::takeover}});
  table.finish();
}

void read_flap(TableReader& table, Application& application) {
  table.count("takeovers", application.flap_takeovers, 0, kMostCounted);
  table.duration("window", application.flap_window, seconds(1), hours(24));
  table.finish();
}

void read_inner_tables(TableReader& table, ApplicationDraft& draft) {
  if (const Value* value = table.table("address")) {
    TableReader reader = table.inner(*value, "address");
    read_address(reader, draft);
  }
  if (const Value* value = table.table("health")) {
    TableReader reader = table.inner(*value, "health");
    read_health(reader, draft, draft.application.health);
  }
  if (const Value* value = table.table("restart")) {
    TableReader reader = table.inner(*value, "restart");
    read_restart(reader, draft.application.restart);
    draft.first_at = reader.at("first");
  }
  if (const Value* value = table.table("flap")) {
    TableReader reader = table.inner(*value, "flap");
    read_flap(reader, draft.application);
  }
}

}  // namespace

bool usable_variable(std::string_view name) {
  if (name.empty() || name.size() > kLongestVariable ||
      std::isdigit(static_cast<unsigned char>(name.front())) != 0)
    return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; });
}

ApplicationDraft read_application(const Value& value, Report& report, bool damaged) {
  TableReader table(value, value.at, "[[application]]", report, damaged);
  ApplicationDraft draft;
  Application& application = draft.application;
  draft.at = value.at;
  draft.name_good = table.require("name", "\"redis\"") && table.name("name", application.name);
  draft.name_at = table.at("name");
  read_guests(table, draft);
  read_sizes(table, draft);
  table.flag("hot_standby", application.hot_standby);
  draft.hot_standby_at = table.at("hot_standby");
  if (std::int64_t priority = 0; table.integer("priority", priority, -kMostPriority, kMostPriority)) {
    application.priority = static_cast<int>(priority);
  }
  table.count("vcpus", application.vcpus, 0, kMostApplicationVcpus);
  draft.vcpus_at = table.at("vcpus");
  if (table.require("start", "[\"/usr/bin/program\", \"argument\"]"))
    table.command("start", application.start);
  application.start_at = table.at("start");
  table.command("prepare", application.prepare);
  read_environment(table, application);
  application.environment_in_file = !application.environment.empty();
  if (std::string file; table.text("environment_file", file)) draft.environment_file.path = file;
  draft.environment_file.at = table.at("environment_file");
  if (table.text("user", application.user) && !usable_user(application.user)) {
    report.add(table.at("user"),
               fmt::format("user {} cannot be used; write a user name of the guest, such as \"app\", or a "
                           "number, such as \"61001\"",
                           in_quotes(application.user)));
  }
  table.choice<bool>("ready", application.ready_notify, {{"health", false}, {"notify", true}});
  read_inner_tables(table, draft);
  table.duration("start_limit", application.start_limit, milliseconds(100), hours(24));
  table.duration("stop_limit", application.stop_limit, milliseconds(10), hours(24));
  table.duration("release_limit", application.release_limit, milliseconds(10), hours(24));
  table.choice<core::OnReleaseLimit>(
      "on_release_limit", application.on_release_limit,
      {{"fence", core::OnReleaseLimit::fence}, {"take-part", core::OnReleaseLimit::take_part}});
  table.flag("preempt", application.preempt);
  table.duration("proven_for", application.proven_for, seconds(1), hours(24 * 366));
  read_scratch(table, application);
  table.finish();
  return draft;
}

}  // namespace understudy::config

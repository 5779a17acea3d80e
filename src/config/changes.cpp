#include "config/changes.hpp"

#include "base/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace understudy::config {

namespace {

constexpr const char* kWayOut = "or end everything with `understudy down` first";

class Refusals {
 public:
  explicit Refusals(const Config& config) : config_(config) {}
  void add(Where at, const std::string& text) {
    all_.push_back(fmt::format("{}:{}:{}: {}", config_.file.string(), std::max(1U, at.line),
                               std::max(1U, at.column), text));
  }
  [[nodiscard]] Errors take() { return std::move(all_); }

 private:
  const Config& config_;
  Errors all_;
};

std::string name_in(const std::vector<std::string>& names, std::uint32_t number) {
  return number < names.size() ? names[number] : "number " + std::to_string(number);
}

// A name that the file has and the former one had not: perhaps somebody renamed it.
template <class Tables>
std::string perhaps_renamed(const Tables& tables, const std::vector<std::string>& former) {
  std::string added;
  for (const auto& each : tables) {
    if (std::find(former.begin(), former.end(), each.name) != former.end()) continue;
    added += fmt::format("{}\"{}\"", added.empty() ? "" : ", ", each.name);
  }
  if (added.empty()) return "";
  return fmt::format("; {} is new there, and what has another name is another one", added);
}

// What of the former configuration's is gone and still has something.
struct Gone {
  std::set<std::uint32_t> guests;
  std::set<std::uint32_t> apps;
  std::map<std::uint32_t, std::uint32_t> areas;  // of each such application

  Gone(const std::vector<core::Record>& records, const core::Names& former, const Config& config) {
    for (const auto& guest : config.guests) known_guests_.insert(guest.name);
    const core::Names names = core::names_of(core::with_rehearsals(config.setup()));
    known_apps_.insert(names.apps.begin(), names.apps.end());
    for (const core::Record& record : records)
      std::visit([&](const auto& each) { take(each, former); }, record);
  }

 private:
  void take(const core::AreaRecord& record, const core::Names& former) {
    if (record.in) take_guest(record.in->guest.value, former);
    if (!record.user || known_apps_.count(name_in(former.apps, record.user->value)) != 0) return;
    apps.insert(record.user->value);
    ++areas[record.user->value];
  }
  void take(const core::GuestRecord& record, const core::Names& former) {
    if (record.state != core::GuestDurable::off) take_guest(record.guest.value, former);
  }
  void take(const core::AppRecord& record, const core::Names& former) {
    if (record.in) take_guest(record.in->guest.value, former);
    if (!record.in || known_apps_.count(name_in(former.apps, record.app.value)) != 0) return;
    apps.insert(record.app.value);
  }
  void take_guest(std::uint32_t guest, const core::Names& former) {
    if (known_guests_.count(name_in(former.guests, guest)) == 0) guests.insert(guest);
  }

  std::set<std::string> known_guests_;
  std::set<std::string> known_apps_;
};

void check_gone(const Config& config, const Left& left, Refusals& refusals) {
  const Gone gone(left.gone, left.names, config);
  const Where guests_at = config.guests.empty() ? Where{} : config.guests.back().name_at;
  for (const std::uint32_t guest : gone.guests) {
    refusals.add(guests_at,
                 fmt::format("guest \"{}\" is not in the file any more, but its virtual machine runs, "
                             "or may run{}; put it back, {}",
                             name_in(left.names.guests, guest),
                             perhaps_renamed(config.guests, left.names.guests), kWayOut));
  }
  const Where apps_at = config.applications.empty() ? Where{} : config.applications.back().name_at;
  for (const std::uint32_t app : gone.apps) {
    const auto found = gone.areas.find(app);
    const std::uint32_t areas = found == gone.areas.end() ? 0 : found->second;
    const std::string has =
        areas == 0 ? "it runs, or may run, in a guest"
                   : fmt::format("it has {} of the pool", format_size(areas * left.names.area_bytes));
    refusals.add(apps_at,
                 fmt::format("application \"{}\" is not in the file any more, but {}{}; put it back, {}",
                             name_in(left.names.apps, app), has,
                             perhaps_renamed(config.applications, left.names.apps), kWayOut));
  }
}

// The pool keeps the areas that it was made with; they, and what guests are or will be started with, have to
// fit into the budget.
void check_pool(const Config& config, const Left& left, Refusals& refusals) {
  if (config.pool.area_bytes != left.names.area_bytes) {
    refusals.add(
        config.pool.area_at,
        fmt::format("area_size is {}, but the areas that are there are of {} each; write that, {}",
                    format_size(config.pool.area_bytes), format_size(left.names.area_bytes), kWayOut));
    return;
  }
  Bytes needed = Bytes{left.names.areas} * left.names.area_bytes;
  std::string lines;
  for (const Guest& guest : config.guests) {
    const auto living = left.base_bytes.find(guest.name);
    const Bytes base =
        living == left.base_bytes.end() ? guest.base_bytes : std::max(guest.base_bytes, living->second);
    needed += base + guest.overhead_bytes;
    const bool is_new =
        std::find(left.names.guests.begin(), left.names.guests.end(), guest.name) == left.names.guests.end();
    if (is_new)
      lines += fmt::format("{}line {} (a new guest)", lines.empty() ? "" : ", ", guest.name_at.line);
    if (living != left.base_bytes.end() && living->second != guest.base_bytes)
      lines += fmt::format("{}line {} (base_memory)", lines.empty() ? "" : ", ", guest.base_at.line);
  }
  if (needed <= config.pool.memory_bytes) return;
  refusals.add(
      config.pool.memory_at,
      fmt::format("memory is {}, but the {} of {} that are there stay until `understudy down`, and with "
                  "the guests{} {} are needed; raise it to that, {}",
                  format_size(config.pool.memory_bytes),
                  left.names.areas == 1 ? "area" : std::to_string(left.names.areas) + " areas",
                  format_size(left.names.area_bytes), lines.empty() ? "" : ", see " + lines + ",",
                  format_size(needed), kWayOut));
}

void check_backing(const Config& config, const Left& left, Refusals& refusals) {
  if (!left.pool) return;
  if (left.pool->backing == config.pool.backing && left.pool->directory == config.pool.directory) return;
  const auto text = [](const Pool& pool) {
    return std::string(pool.backing == Backing::hugetlbfs ? "hugetlbfs" : "tmpfs") +
           (pool.directory.empty() ? "" : " in " + pool.directory.string());
  };
  refusals.add(
      config.pool.directory_at,
      fmt::format("the areas that are there are made of {}, and the file says {}; write what it was, {}",
                  text(*left.pool), text(config.pool), kWayOut));
}

}  // namespace

Errors what_stands_in_the_way(const Config& config, const Left& left) {
  Refusals refusals(config);
  check_gone(config, left, refusals);
  check_pool(config, left, refusals);
  check_backing(config, left, refusals);
  return refusals.take();
}

}  // namespace understudy::config

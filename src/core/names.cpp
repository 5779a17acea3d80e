#include "core/names.hpp"

#include <algorithm>

namespace understudy::core {

namespace {

std::vector<std::optional<std::uint32_t>> numbers(const std::vector<std::string>& from,
                                                  const std::vector<std::string>& to) {
  std::vector<std::optional<std::uint32_t>> found;
  for (const std::string& name : from) {
    const auto at = std::find(to.begin(), to.end(), name);
    found.push_back(at == to.end() ? std::nullopt
                                   : std::optional(static_cast<std::uint32_t>(at - to.begin())));
  }
  return found;
}

// Whether it has a number now, which `value` becomes. A number that never had a name stays what it is, for
// whoever checks records to find.
bool renumber(std::uint32_t& value, const std::vector<std::optional<std::uint32_t>>& numbers) {
  if (value >= numbers.size()) return true;
  if (!numbers[value]) return false;
  value = *numbers[value];
  return true;
}

}  // namespace

Names names_of(const Setup& setup) {
  Names names{setup.pool.area_count, setup.pool.area_bytes, {}, {}};
  for (const auto& guest : setup.guests) names.guests.push_back(guest.name);
  for (const auto& app : setup.apps) names.apps.push_back(app.name);
  return names;
}

Translation::Translation(const Names& from, const Names& to)
    : guests_(numbers(from.guests, to.guests)), apps_(numbers(from.apps, to.apps)) {}

std::optional<Record> Translation::operator()(const Record& record) const {
  return std::visit([this](const auto& each) { return translated(each); }, record);
}

std::optional<Record> Translation::translated(AreaRecord record) const {
  if (record.user && !renumber(record.user->value, apps_)) return std::nullopt;
  if (record.in && !renumber(record.in->guest.value, guests_)) return std::nullopt;
  return record;
}

std::optional<Record> Translation::translated(GuestRecord record) const {
  if (!renumber(record.guest.value, guests_)) return std::nullopt;
  return record;
}

std::optional<Record> Translation::translated(AppRecord record) const {
  if (!renumber(record.app.value, apps_)) return std::nullopt;
  if (record.in && !renumber(record.in->guest.value, guests_)) return std::nullopt;
  if (record.from && !renumber(record.from->value, guests_)) record.from.reset();
  if (record.to && !renumber(record.to->value, guests_)) record.to.reset();
  return record;
}

}  // namespace understudy::core

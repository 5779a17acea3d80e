#include "core/table.hpp"

#include "base/check.hpp"

namespace understudy::core {

Table::Table(std::uint32_t area_count) : areas_(area_count), dirty_(area_count, false) {
  for (std::uint32_t i = 0; i < area_count; ++i) areas_[i].id = AreaId{i};
}

std::vector<AreaId> Table::unused() const {
  std::vector<AreaId> found;
  for (const Area& area : areas_) {
    if (area.state == AreaState::unused) found.push_back(area.id);
  }
  return found;
}

std::vector<AreaId> Table::held_by(AppId app) const {
  std::vector<AreaId> found;
  for (const Area& area : areas_) {
    if (area.state == AreaState::held && area.user == app) found.push_back(area.id);
  }
  return found;
}

std::vector<AreaId> Table::in_use_by(AppId app, GuestRun run) const {
  std::vector<AreaId> found;
  for (const Area& area : areas_) {
    if (area.user == app && area.in == run) found.push_back(area.id);
  }
  return found;
}

std::uint32_t Table::count_in(GuestRun run) const {
  std::uint32_t count = 0;
  for (const Area& area : areas_) count += area.in == run ? 1 : 0;
  return count;
}

void Table::hold(AreaId id, AppId app) {
  US_CHECK(at(id).state == AreaState::unused);
  at(id).state = AreaState::held;
  at(id).user = app;
  changed(id);
}

void Table::begin_scrub(AreaId id) {
  US_CHECK(at(id).state == AreaState::held);
  at(id).state = AreaState::scrubbing;
  changed(id);
}

void Table::scrubbed(AreaId id) {
  US_CHECK(at(id).state == AreaState::scrubbing);
  at(id).state = AreaState::held;
  at(id).last_domain.clear();
  at(id).unscrubbed = false;
  changed(id);
}

void Table::scrub_failed(AreaId id) {
  US_CHECK(at(id).state == AreaState::scrubbing);
  at(id).state = AreaState::held;
  at(id).unscrubbed = true;
  changed(id);
}

void Table::scrub_ended(AreaId id) {
  scrub_failed(id);
  at(id).unscrubbed = false;
}

void Table::begin_plug(AreaId id, GuestRun run, const std::string& domain) {
  Area& area = at(id);
  US_CHECK(area.state == AreaState::held && !area.in);
  US_CHECK(area.last_domain.empty() || area.last_domain == domain);
  area.state = AreaState::plugging;
  area.in = run;
  area.last_domain = domain;
  changed(id);
}

void Table::plugged(AreaId id, std::uint64_t guest_address) {
  US_CHECK(at(id).state == AreaState::plugging);
  at(id).state = AreaState::plugged;
  at(id).guest_address = guest_address;
  changed(id);
}

void Table::plug_failed(AreaId id) {
  US_CHECK(at(id).state == AreaState::plugging);
  at(id).state = AreaState::held;
  at(id).in.reset();
  changed(id);
}

void Table::engaged(AreaId id) {
  US_CHECK(at(id).state == AreaState::plugged);
  at(id).state = AreaState::engaged;
  changed(id);
}

void Table::begin_release(AreaId id) {
  US_CHECK(at(id).state == AreaState::plugged || at(id).state == AreaState::engaged);
  at(id).state = AreaState::releasing;
  changed(id);
}

void Table::keep(AreaId id) {
  US_CHECK(at(id).state == AreaState::releasing);
  at(id).state = AreaState::plugged;
  changed(id);
}

void Table::hand_over(AreaId id, AppId to) {
  US_CHECK(at(id).state == AreaState::engaged);
  at(id).user = to;
  changed(id);
}

void Table::begin_unplug(AreaId id) {
  const AreaState state = at(id).state;
  US_CHECK(state == AreaState::plugged || state == AreaState::engaged || state == AreaState::releasing);
  at(id).state = AreaState::unplugging;
  changed(id);
}

void Table::unplugged(AreaId id) {
  const AreaState state = at(id).state;
  US_CHECK(state == AreaState::unplugging || state == AreaState::plugged || state == AreaState::engaged ||
           state == AreaState::releasing);
  at(id).state = AreaState::held;
  at(id).in.reset();
  changed(id);
}

void Table::unplug_failed(AreaId id) {
  US_CHECK(at(id).state == AreaState::unplugging);
  at(id).state = AreaState::releasing;
  changed(id);
}

void Table::guest_stopped(GuestRun run) {
  for (Area& area : areas_) {
    if (area.in != run) continue;
    area.state = AreaState::held;
    area.in.reset();
    changed(area.id);
  }
}

void Table::free(AreaId id) {
  US_CHECK(at(id).state == AreaState::held);
  at(id).state = AreaState::unused;
  at(id).user.reset();
  changed(id);
}

void Table::restore(const AreaRecord& record) {
  Area& area = at(record.area);
  area.state = record.state;
  area.user = record.user;
  area.in = record.in;
  area.last_domain = record.last_domain;
}

void Table::found_plugged(AreaId id, std::uint64_t guest_address) {
  Area& area = at(id);
  US_CHECK(area.in.has_value());
  area.guest_address = guest_address;
  if (area.state == AreaState::engaged || area.state == AreaState::releasing) return;
  area.state = AreaState::plugged;
  changed(id);
}

void Table::found_absent(AreaId id) {
  US_CHECK(at(id).in.has_value());
  at(id).state = AreaState::held;
  at(id).in.reset();
  changed(id);
}

std::vector<AreaRecord> Table::take_changes() {
  std::vector<AreaRecord> records;
  records.reserve(changes_.size());
  for (const AreaId id : changes_) {
    dirty_[id.value] = false;
    const Area& area = at(id);
    records.push_back({id, area.state, area.user, area.in, area.last_domain});
  }
  changes_.clear();
  return records;
}

void Table::check() const {
  for (const Area& area : areas_) {
    const bool inside = area.state != AreaState::unused && area.state != AreaState::held &&
                        area.state != AreaState::scrubbing;
    US_CHECK(area.in.has_value() == inside);
    US_CHECK(area.user.has_value() == (area.state != AreaState::unused));
  }
}

void Table::changed(AreaId id) {
  if (dirty_[id.value]) return;
  dirty_[id.value] = true;
  changes_.push_back(id);
}

}  // namespace understudy::core

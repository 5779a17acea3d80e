#pragma once

#include "core/setup.hpp"
#include "engine/ports.hpp"

#include <optional>
#include <variant>
#include <vector>

namespace understudy::sim {

// Keeps the last record of every row, as a journal that was replayed would. It can refuse for a while, and it
// can be cut off in the middle of an append, as by the death of the daemon.
class MemoryJournal final : public engine::Journal {
 public:
  explicit MemoryJournal(const core::Setup& setup)
      : guests_(setup.guests.size()), apps_(setup.apps.size()), areas_(setup.pool.area_count) {
    for (std::uint32_t i = 0; i < guests_.size(); ++i) guests_[i].guest = core::GuestId{i};
    for (std::uint32_t i = 0; i < apps_.size(); ++i) apps_[i].app = core::AppId{i};
    for (std::uint32_t i = 0; i < areas_.size(); ++i) areas_[i].area = core::AreaId{i};
  }

  [[nodiscard]] Result<void> append(std::span<const core::Record> records) override {
    if (!refusing || keeps_what_it_refuses) keep(records);
    if (refusing) return failure("no space left on the medium");
    return {};
  }

  void keep(std::span<const core::Record> records) {
    become(records);
    written_ += records.size();
  }

  [[nodiscard]] const core::GuestRecord& guest(core::GuestId id) const { return guests_[id.value]; }
  [[nodiscard]] const core::AppRecord& app(core::AppId id) const { return apps_[id.value]; }
  [[nodiscard]] const core::AreaRecord& area(core::AreaId id) const { return areas_[id.value]; }
  [[nodiscard]] const std::vector<core::AppRecord>& apps() const { return apps_; }
  [[nodiscard]] const std::vector<core::AreaRecord>& areas() const { return areas_; }
  [[nodiscard]] std::uint64_t written() const { return written_; }
  // What a replay yields.
  [[nodiscard]] std::vector<core::Record> records() const {
    std::vector<core::Record> all(guests_.begin(), guests_.end());
    all.insert(all.end(), apps_.begin(), apps_.end());
    all.insert(all.end(), areas_.begin(), areas_.end());
    return all;
  }

  // What a former daemon's records amount to.
  void become(std::span<const core::Record> records) {
    for (const core::Record& record : records) {
      std::visit([this](const auto& r) { row(r) = r; }, record);
    }
  }

  bool refusing = false;
  bool keeps_what_it_refuses = false;  // as after a sync that failed: the line may be there all the same

 private:
  core::GuestRecord& row(const core::GuestRecord& r) { return guests_.at(r.guest.value); }
  core::AppRecord& row(const core::AppRecord& r) { return apps_.at(r.app.value); }
  core::AreaRecord& row(const core::AreaRecord& r) { return areas_.at(r.area.value); }

  std::vector<core::GuestRecord> guests_;
  std::vector<core::AppRecord> apps_;
  std::vector<core::AreaRecord> areas_;
  std::uint64_t written_ = 0;
};

}  // namespace understudy::sim

#pragma once

#include "core/records.hpp"
#include "core/setup.hpp"

#include <cstdint>
#include <vector>

namespace understudy::core {

// One area of the pool. `state` says what may be done with it next; Table is the only writer.
struct Area {
  AreaId id;
  AreaState state = AreaState::unused;
  std::optional<AppId> user;        // none exactly when unused
  std::optional<GuestRun> in;       // set from plugging to unplugging
  std::string last_domain;          // who could last write to it; empty: all zeroes
  std::uint64_t guest_address = 0;  // where it is plugged; meaningful from plugged on
  bool unscrubbed = false;          // it could not be zeroed when that was last tried
};

// The ownership half of the resource management table: who has which area, and in which of the steps
// unused -> (scrubbing) -> plugging -> plugged -> engaged -> releasing -> unplugging -> held it is. Every
// transition is a function here that checks what must hold before it, so that an area can be neither lost
// nor plugged into two guests: an area leaves a run only by unplugged() or by guest_stopped().
class Table {
 public:
  explicit Table(std::uint32_t area_count);

  [[nodiscard]] const Area& area(AreaId id) const { return areas_.at(id.value); }
  [[nodiscard]] bool knows(AreaId id) const { return id.value < areas_.size(); }
  [[nodiscard]] const std::vector<Area>& areas() const { return areas_; }
  [[nodiscard]] std::vector<AreaId> unused() const;
  [[nodiscard]] std::vector<AreaId> held_by(AppId app) const;
  [[nodiscard]] std::vector<AreaId> in_use_by(AppId app, GuestRun run) const;  // plugging to unplugging
  [[nodiscard]] std::uint32_t count_in(GuestRun run) const;

  void hold(AreaId id, AppId app);  // unused -> held
  void begin_scrub(AreaId id);      // held -> scrubbing
  void scrubbed(AreaId id);         // scrubbing -> held, all zeroes
  void scrub_failed(AreaId id);     // scrubbing -> held, as it was
  void scrub_ended(AreaId id);      // the same, where nothing went wrong: its daemon ended
  void begin_plug(AreaId id, GuestRun run, const std::string& domain);  // held -> plugging
  void plugged(AreaId id, std::uint64_t guest_address);                 // plugging -> plugged
  void plug_failed(AreaId id);                                          // plugging -> held
  void engaged(AreaId id);                                              // plugged -> engaged
  void begin_release(AreaId id);                                        // plugged, engaged -> releasing
  void keep(AreaId id);                 // releasing -> plugged: its guest did not let go of it
  void hand_over(AreaId id, AppId to);  // engaged, of a rehearsal -> engaged, of an application
  void begin_unplug(AreaId id);         // plugged, engaged, releasing -> unplugging
  void unplugged(AreaId id);         // unplugging -> held; a guest may let go unasked: also from plugged on
  void unplug_failed(AreaId id);     // unplugging -> releasing: it is in the guest as before
  void guest_stopped(GuestRun run);  // verified: everything in it -> held
  void free(AreaId id);              // held -> unused
  void restore(const AreaRecord& record);  // from the journal, at start only
  // A restarted daemon was told by the hypervisor whether an area that may be in a run really is.
  void found_plugged(
      AreaId id,
      std::uint64_t guest_address);  // any in-run state -> plugged, or still engaged or releasing
  void found_absent(AreaId id);      // any in-run state -> held
                                     //  // from the journal, at start only

  // Records of the areas that changed since the last call.
  [[nodiscard]] std::vector<AreaRecord> take_changes();
  // Checks what must hold of every area at any time; aborts if it does not.
  void check() const;

 private:
  Area& at(AreaId id) { return areas_.at(id.value); }
  void changed(AreaId id);

  std::vector<Area> areas_;
  std::vector<bool> dirty_;
  std::vector<AreaId> changes_;
};

}  // namespace understudy::core

#pragma once

#include "core/core.hpp"
#include "core/outputs.hpp"
#include "sim/memory_journal.hpp"
#include "sim/world.hpp"

#include <map>
#include <optional>
#include <string>

namespace understudy::sim {

struct Violation {
  Time at{};
  std::string what;
};

// The promises of the project, checked against the truth and against what was durable at the moment of each
// request. What the core believes is looked at for one thing alone: that its table accounts for every area.
// The first violation is kept.
class Checkers {
 public:
  Checkers(World& world, const MemoryJournal& journal);
  Checkers(const Checkers&) = delete;
  Checkers& operator=(const Checkers&) = delete;

  [[nodiscard]] const std::optional<Violation>& violation() const { return violation_; }
  void violated(const std::string& what);

  // ---- a request is about to be acted on ----
  void launching(core::GuestRun run);
  void plugging(core::GuestRun run, core::AreaId area);
  void unplugging(core::GuestRun run, core::AreaId area);
  void plugging_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count);
  void scrubbing(core::AreaId area);
  void engaging(const core::action::AskEngage& request);
  void starting(const core::action::AskStart& request);
  void growing(const core::action::AnswerGrowth& answer);
  void releasing(const core::action::AskRelease& request);
  void routing(core::AppId app, core::GuestRun run);
  void discarding(core::GuestRun run);
  void fencing(core::GuestRun run);
  // The daemon is told of this now, and acts on it until done() is said.
  void telling(const core::Event& event, const core::State& state);
  void done() { no_fence_.clear(); }
  // Of the host's failures alone: nothing is wrong with the guest.
  [[nodiscard]] static bool of_the_host(const core::Event& event);

  // ---- something became true ----
  void app_started(core::AppId app, core::GuestRun run);
  void area_mapped(core::AreaId area, core::GuestRun run);  // called before the truth changes
  void reported(const core::TakeoverReport& report);
  void hears(const core::Event& event);  // the daemon, in a moment
  void daemon_died();                    // the next one has heard nothing yet

  // After every event.
  void check(const core::State& state);

 private:
  void check_areas(const core::State& state);
  void check_shown(const core::State& state);
  void check_vcpus(const core::State& state);
  void check_apps();
  void check_budget();
  void check_definitions(const core::State& state);
  void check_stopped();
  void check_rehearsals(const core::State& state);
  void check_clients();
  void is_down(core::AppId app, core::GuestRun run, core::Epoch epoch, bool down);
  [[nodiscard]] bool serves(core::AppId app, core::GuestRun run, core::Epoch epoch) const;
  void check_serving(const core::State& state);
  [[nodiscard]] bool journalled_up(core::GuestRun run) const;
  [[nodiscard]] std::string name(core::GuestRun run) const;
  [[nodiscard]] std::string name(core::AreaId area) const { return "area " + std::to_string(area.value); }
  [[nodiscard]] const std::string& name(core::AppId app) const { return world_.setup().app(app).name; }

  World& world_;
  const MemoryJournal& journal_;
  [[nodiscard]] std::string spared_for(const core::State& state, core::AppId app, core::GuestRun run) const;

  std::optional<Violation> violation_;
  std::optional<Time> waiting_since_;  // for a rehearsal to end
  // Where each application does not serve for the moment, as its agent has told this daemon.
  struct Down {
    core::GuestRun run;
    core::Epoch epoch = 0;
  };
  std::map<core::AppId, Down> down_;
  std::string no_fence_;  // why nobody may be fenced for what the daemon is being told; empty: that may be
  std::vector<std::optional<Time>> pretends_since_;  // that it serves, by application
  std::vector<std::optional<Time>> shown_since_;     // where it is not, by area
};

}  // namespace understudy::sim

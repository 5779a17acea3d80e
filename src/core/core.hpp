#pragma once

#include "core/events.hpp"
#include "core/outputs.hpp"
#include "core/state.hpp"

#include <optional>
#include <span>

namespace understudy::core {

// Every decision of the VMM: events in, outputs out. It holds no clock, descriptor or thread; the same events
// at the same times give the same outputs. One step at a time; its outputs must have been performed (or be
// queued in order) before those of the next.
class Core {
 public:
  explicit Core(Setup setup);

  // Before the first step of a daemon that was started again: what its journal says. event::Resume then asks
  // what has become of it. An error names the record that cannot be.
  [[nodiscard]] Result<void> restore(std::span<const Record> records);
  [[nodiscard]] Outputs step(Time now, const Event& event);
  // When a Tick is due at the latest; none: nothing waits for time.
  [[nodiscard]] std::optional<Time> next_deadline() const { return due_; }
  // The journal could not be written (or can again, with an empty text): no move begins until it can.
  void set_journal_trouble(std::string why) {
    state_.journal_trouble = std::move(why);
    state_.forget_forecasts();
  }

  [[nodiscard]] const State& state() const { return state_; }
  // Everything is down: no guest has a process, no application runs.
  [[nodiscard]] bool is_down() const;

 private:
  [[nodiscard]] Duration lost_time(Time now);
  [[nodiscard]] std::optional<Time> first_deadline() const;
  void advance_all(Step& step);
  void record_changes(Outputs& out);

  State state_;
  std::optional<Time> due_;      // when a step was asked for last
  std::optional<Time> excused_;  // when everybody was given time to be heard last
};

}  // namespace understudy::core

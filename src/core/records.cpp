#include "core/records.hpp"

#include "core/report.hpp"

namespace understudy::core {

const char* area_state_name(AreaState state) {
  switch (state) {
    case AreaState::unused: return "unused";
    case AreaState::held: return "held";
    case AreaState::scrubbing: return "scrubbing";
    case AreaState::plugging: return "plugging";
    case AreaState::plugged: return "plugged";
    case AreaState::engaged: return "engaged";
    case AreaState::releasing: return "releasing";
    case AreaState::unplugging: return "unplugging";
  }
  return "?";
}

const char* guest_durable_name(GuestDurable state) {
  switch (state) {
    case GuestDurable::off: return "off";
    case GuestDurable::up: return "up";
    case GuestDurable::fencing: return "fencing";
    case GuestDurable::fenced: return "fenced";
  }
  return "?";
}

const char* app_durable_name(AppDurable state) {
  switch (state) {
    case AppDurable::idle: return "idle";
    case AppDurable::waiting: return "waiting";
    case AppDurable::moving: return "moving";
    case AppDurable::serving: return "serving";
    case AppDurable::leaving: return "leaving";
    case AppDurable::failed: return "failed";
  }
  return "?";
}

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::detect: return "detect";
    case Phase::fence: return "fence";
    case Phase::detach: return "detach";
    case Phase::attach: return "attach";
    case Phase::online: return "online";
    case Phase::start: return "start";
    case Phase::serving: return "serving";
  }
  return "?";
}

Duration TakeoverReport::total() const {
  Duration sum = waited + in_vain;
  for (const Duration phase : phases) sum += phase;
  return sum;
}

}  // namespace understudy::core

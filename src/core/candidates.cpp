// Who could take an application, and with which areas. Asked when one is being placed, and all the time for
// the answer to "would a takeover work now?".
#include "core/state.hpp"

#include <algorithm>

namespace understudy::core {

namespace {

std::string not_ready(const State& state, const Guest& guest) {
  const std::string& name = state.name(guest.id);
  struct Why {
    const std::string& name;
    std::string operator()(const guest_state::Off&) const { return name + " is down"; }
    std::string operator()(const guest_state::Adopting&) const { return name + " is being looked for"; }
    std::string operator()(const guest_state::Launching&) const { return name + " is starting"; }
    std::string operator()(const guest_state::Booting&) const { return name + " is booting"; }
    std::string operator()(const guest_state::Ready&) const { return ""; }
    std::string operator()(const guest_state::Suspect&) const { return name + "'s agent does not answer"; }
    std::string operator()(const guest_state::Fencing&) const { return name + " failed and is being fenced"; }
    std::string operator()(const guest_state::Fenced&) const { return name + " failed and is coming back"; }
    std::string operator()(const guest_state::Discarding&) const {
      return name + " failed and is coming back";
    }
  };
  return std::visit(Why{name}, guest.state);
}

// What applications may count on of a rehearsal's areas, and the memory that its guest has beside them.
struct Rehearsed {
  std::uint32_t areas = 0;
  std::uint32_t areas_here = 0;  // of those, in the guest that is asked about
  std::optional<Bytes> spare_bytes;
};

Rehearsed what_rehearsals_have(const State& state, const Application& app, const Guest& guest,
                               OfRehearsals of_rehearsals) {
  Rehearsed had;
  const Application* twin = rehearsal_under_way(state);
  if (twin == nullptr || state.is_twin(app.id)) return had;
  const bool here = twin->place() == guest.current();
  if (here && twin->rehearsal) had.spare_bytes = twin->rehearsal->spare_bytes;
  const bool yielded = here && twin->in_step<move_step::Yielding>() != nullptr;
  if (of_rehearsals == OfRehearsals::only_yielded && !yielded) return had;
  for (const Area& area : state.table.areas()) {
    if (area.user != twin->id) continue;
    ++had.areas;
    had.areas_here += area.in == guest.current() ? 1 : 0;
  }
  return had;
}

// On their way into this guest, and in none yet.
std::uint32_t areas_zeroed_for(const Application& app, GuestRun run) {
  const auto* plugging = app.in_step<move_step::Plugging>();
  return plugging != nullptr && plugging->to == run ? static_cast<std::uint32_t>(plugging->scrubs.size()) : 0;
}

// What an application that is on its way into this guest will use of the base memory: the guest still counts
// it as available.
Bytes promised_bytes(const State& state, const Application& app, GuestRun run) {
  const bool known = app.in_step<move_step::Sizing>() == nullptr;
  if (!is_arriving(app) || !known || app.place() != run) return 0;
  const std::size_t areas = state.table.in_use_by(app.id, run).size() + areas_zeroed_for(app, run);
  const Bytes in_areas = areas * usable_bytes(state.setup.pool.area_bytes);
  const Bytes desired = state.setup.app(app.id).desired_bytes;
  return desired - std::min(desired, in_areas);
}

}  // namespace

Bytes base_available_bytes(const State& state, const Guest& guest) {
  return std::min(guest.ready()->memory.available_bytes, state.definition(guest.id).base_bytes);
}

Bytes really_missing_bytes(const State& state, const Application& app, GuestRun run, Bytes missing_bytes) {
  Bytes promised = 0;
  for (const Application& other : state.apps) {
    const bool started = other.in_step<move_step::Starting>() != nullptr;
    if (other.id != app.id && !started) promised += promised_bytes(state, other, run);
  }
  const Bytes desired = state.setup.app(app.id).desired_bytes;
  const Bytes has = desired - std::min(desired, usable_bytes(missing_bytes));
  const Bytes lost = std::min(has, promised);
  return lost == 0 ? missing_bytes : missing_bytes + plugged_bytes(lost);
}

Bytes spare_bytes(const State& state, const Guest& guest) {
  Bytes spare = base_available_bytes(state, guest);
  for (const Application& app : state.apps)
    spare -= std::min(spare, promised_bytes(state, app, guest.current()));
  return spare;
}

std::vector<AreaId> areas_for(const State& state, const Application& app) {
  std::vector<AreaId> areas = state.table.held_by(app.id);
  for (const AreaId id : state.table.unused()) areas.push_back(id);
  // What could not be zeroed is tried again when there is nothing else.
  std::stable_partition(areas.begin(), areas.end(),
                        [&](AreaId id) { return !state.table.area(id).unscrubbed; });
  return areas;
}

std::string why_not(const State& state, const Application& app, const Guest& guest) {
  return why_not_after(state, app, guest, nullptr);
}

std::string why_no_takeover(const State& state, const Application& app, const Guest& guest) {
  std::string why = why_not(state, app, guest);
  return why.empty() ? hands_off(state, guest) : why;
}

std::string keeps_off(const State& state, const Application& app, const Guest& guest) {
  const Move& move = app.moving()->move;
  return move.from && move.preferred != guest.id ? hands_off(state, guest) : "";
}

std::optional<GuestId> ready_standby(const State& state, const Application& app, std::string& why_not) {
  const auto place = app.place();
  if (!state.setup.app(app.id).hot_standby) {
    why_not = "it is not a hot standby job";
    return std::nullopt;
  }
  why_not.clear();
  for (const GuestId id : state.setup.app(app.id).guests) {
    if (place && id == place->guest) continue;
    const std::string reason = why_no_takeover(state, app, state.guest(id));
    if (reason.empty()) {
      why_not.clear();
      return id;
    }
    why_not += (why_not.empty() ? "" : "; ") + reason;
  }
  return std::nullopt;
}

std::uint32_t slots_taken(const State& state, GuestRun run) {
  std::uint32_t taken = state.table.count_in(run);
  for (const Application& app : state.apps) taken += areas_zeroed_for(app, run);
  return taken;
}

const Application* sized_before(const State& state, const Application& app, const Guest& guest) {
  // It takes nothing that nobody has: who of two is faster makes no difference to a third.
  const auto lives_on_its_own = [&](const Application& one, const Guest& in) {
    if (in.ready() == nullptr) return false;
    const Bytes desired = state.setup.app(one.id).desired_bytes;
    const Bytes own = state.table.held_by(one.id).size() * state.setup.pool.area_bytes;
    return own >= compute_need(desired, spare_bytes(state, in)).missing_bytes;
  };
  for (const Application& other : state.apps) {
    const auto* sizing = other.in_step<move_step::Sizing>();
    if (sizing == nullptr || other.id == app.id || state.is_twin(other.id)) continue;
    if (sizing->to == guest.current() || !lives_on_its_own(app, guest) ||
        !lives_on_its_own(other, state.guest(sizing->to.guest)))
      return &other;
  }
  return nullptr;
}

std::string why_not_after(const State& state, const Application& app, const Guest& guest, const Gain* gain,
                          OfRehearsals of_rehearsals) {
  std::string why = not_ready(state, guest);
  if (why.empty() && guest.unsettled) why = state.name(guest.id) + " is being looked for";
  if (why.empty() && is_being_let_go_of(guest, app.id)) {
    why = state.name(guest.id) + " is letting go of what it had kept of " + state.name(app.id);
  }
  if (!why.empty()) return why;
  const std::string& name = state.name(guest.id);
  const auto avoided = app.avoid.find(guest.id);
  if (avoided != app.avoid.end() && avoided->second.until > state.now) {
    const std::string& trouble = avoided->second.trouble;
    if (!trouble.empty()) return "the host could not plug memory into " + name + " lately: " + trouble;
    return state.name(app.id) + " could not be started on " + name + " lately (" + avoided->second.why +
           "); it is tried there again soon";
  }
  const AppSetup& setup = state.setup.app(app.id);
  if (setup.has_address && !state.has_port_for(app.id, guest.id)) {
    return name + " was started when " + setup.name +
           " had no address there, so no client would reach it; it can take it over when it has been started "
           "anew";
  }
  const Bytes area_bytes = state.setup.pool.area_bytes;
  const Bytes usable = usable_bytes(area_bytes);
  // What it has where it runs now would come with it.
  const auto place = app.place();
  const std::size_t own = place ? state.table.in_use_by(app.id, *place).size() : 0;
  const std::size_t gained = gain != nullptr ? state.table.in_use_by(gain->victim, gain->from).size() : 0;
  const Rehearsed rehearsed = what_rehearsals_have(state, app, guest, of_rehearsals);
  // What this guest has kept of it.
  const std::size_t kept = place ? 0 : state.table.in_use_by(app.id, guest.current()).size();
  const std::size_t available = own + gained + rehearsed.areas + kept + areas_for(state, app).size();
  const Bytes spare = rehearsed.spare_bytes.value_or(spare_bytes(state, guest));
  const Bytes in_base = base_use_bytes(spare);
  if (available * usable + in_base < setup.minimum_bytes) {
    return "only " + format_size(available * area_bytes) + " of the pool could be given to " + setup.name +
           ", which needs " + format_size(setup.minimum_bytes);
  }
  const std::uint32_t slots = state.definition(guest.id).slots;
  const std::uint32_t used =
      slots_taken(state, guest.current()) - rehearsed.areas_here - static_cast<std::uint32_t>(kept) -
      (gain != nullptr && gain->from == guest.current() ? static_cast<std::uint32_t>(gained) : 0);
  const std::uint32_t free_slots = slots - std::min(slots, used);
  if (free_slots < available && free_slots * usable + in_base < setup.minimum_bytes) {
    return name + " has too few memory slots left for " + setup.name + " (" + std::to_string(free_slots) +
           " of " + std::to_string(slots) + ")";
  }
  const std::size_t wanted = std::min<std::size_t>({available, free_slots, setup.desired_bytes / usable});
  if (area_bytes > kSelfCarryingBytes && wanted * area_bytes / kMemmapDivisor + kOsReserveBytes > spare) {
    return name + " has only " + format_size(spare) + " free, too little for the struct pages of " +
           format_size(wanted * area_bytes);
  }
  return "";
}

}  // namespace understudy::core

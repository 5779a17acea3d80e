// What is shown is compared with what is. Root in a guest can eject a DIMM or a vCPU that the guest was
// given, and an event that should tell of it can be missed. So the hypervisor looks into one guest after the
// other and tells what is plugged into it (GuestSeen), and here that is compared with the table. What is on
// its way in or out differs for a moment and is left out; the rest counts when two looks in a row show it:
//
// - The table has an area there, QEMU has not: the hypervisor is asked to unplug it. That ends in its backing
//   being unmapped, and only then it is anybody's.
// - QEMU has an area there, the table has not: somebody else may be given it, so the guest is fenced.
// - Another number of vCPUs: the table takes QEMU's, and what follows from that follows.
#include "core/state.hpp"

#include <algorithm>
#include <iterator>
#include <string>

namespace understudy::core {

namespace {

using namespace move_step;

bool is_at_rest(AreaState state) {
  return state == AreaState::plugged || state == AreaState::engaged || state == AreaState::releasing;
}

void compare_areas(const State& state, const event::GuestSeen& event, SeenOtherwise& found) {
  std::vector<AreaId> there;
  for (const event::PluggedArea& plugged : event.areas) {
    there.push_back(plugged.area);
    const bool known = state.table.knows(plugged.area);
    if (!known || state.table.area(plugged.area).in != event.run) found.strange.push_back(plugged.area);
  }
  for (const Area& area : state.table.areas()) {
    if (area.in != event.run || !is_at_rest(area.state)) continue;
    if (std::find(there.begin(), there.end(), area.id) == there.end()) found.absent.push_back(area.id);
  }
}

// An application that is entitled to fewer than QEMU has shows as many as it is entitled to.
void compare_vcpus(const State& state, const Guest& guest, const event::GuestSeen& event,
                   SeenOtherwise& found) {
  if (!event.vcpus) return;
  for (const Application& app : state.apps) {
    const auto seen = std::find_if(event.vcpus->begin(), event.vcpus->end(),
                                   [&](const event::PluggedVcpus& each) { return each.app == app.id; });
    const auto known = guest.vcpus.find(app.id);
    if (known != guest.vcpus.end() && known->second.doing != AppVcpus::Doing::nothing) continue;
    const std::uint32_t shown = known != guest.vcpus.end() ? known->second.count : 0;
    const std::uint32_t has = std::min(seen != event.vcpus->end() ? seen->count : 0,
                                       std::max(shown, state.setup.app(app.id).vcpus));
    if (has != shown) found.vcpus[app.id] = has;
  }
}

std::vector<AreaId> in_both(const std::vector<AreaId>& one, const std::vector<AreaId>& other) {
  std::vector<AreaId> both;
  std::copy_if(one.begin(), one.end(), std::back_inserter(both),
               [&](AreaId id) { return std::find(other.begin(), other.end(), id) != other.end(); });
  return both;
}

std::string area_text(AreaId id) {
  return "area " + std::to_string(id.value);
}

// True: it is being fenced for them.
bool has_strange_areas(Step& step, Guest& guest, const std::vector<AreaId>& strange) {
  if (strange.empty()) return false;
  const AreaId id = strange.front();
  const bool known = step.state.table.knows(id);
  const auto user = known ? step.state.table.area(id).user : std::nullopt;
  const std::string whose = !known ? "is not in the pool"
                            : user ? "is " + step.state.name(*user) + "'s"
                                   : "is unused";
  const std::string what = "QEMU says that " + step.state.name(guest.id) + " has " + area_text(id) +
                           ", which by the table " + whose + " and not there";
  step.note(Severity::error, "difference-found", what + "; it is fenced", guest.id, user);
  condemn(step, guest, what, step.now);
  return true;
}

void is_absent(Step& step, Guest& guest, AreaId id) {
  const AreaState was = step.state.table.area(id).state;
  Application& app = step.state.app(*step.state.table.area(id).user);
  step.state.table.begin_unplug(id);
  step.out.unplug.push_back({guest.current(), id});
  step.note(Severity::warning, "difference-found",
            "QEMU says that " + step.state.name(guest.id) + " does not have " + area_text(id) + " of " +
                step.state.name(app.id) + ", which the table had there; it is taken back" +
                do_without(step, app, guest.current(), was),
            guest.id, app.id);
}

}  // namespace

std::string do_without(Step& step, Application& app, GuestRun run, AreaState was) {
  if (app.place() != run) return "";
  const std::string& name = step.state.name(app.id);
  const Bytes usable = usable_bytes(step.state.setup.pool.area_bytes);
  if (auto* serving = app.serving()) {
    if (was == AreaState::engaged) serving->lost_bytes += usable;
    if (was == AreaState::plugged && serving->growing) growth_lost(step, app);
    std::size_t left = 0;
    for (const AreaId id : step.state.table.in_use_by(app.id, run))
      left += step.state.table.area(id).state == AreaState::engaged ? 1 : 0;
    return "; " + name + " goes on with " + format_size(left * step.state.setup.pool.area_bytes) +
           " in areas, and is given more when it runs out of memory";
  }
  if (auto* starting = app.in_step<Starting>()) {
    starting->lost_bytes += usable;
    return "; " + name + " is being started without it";
  }
  const bool engaging = app.in_step<Engaging>() != nullptr;
  if (!engaging && app.in_step<Plugging>() == nullptr) return "";
  const std::string why = step.state.name(run.guest) + " let go of an area that it was being given";
  if (step.state.is_twin(app.id)) {
    rehearsal_fails(app, why);
  } else {
    avoid(step, app, run.guest, why);
  }
  enter_releasing(step, app, run, engaging);
  return "; " + name + " is not started there now";
}

void handle(Step& step, const event::GuestSeen& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || guest->unsettled || !(guest->believed_up() || guest->coming_up())) return;
  if (!event.unexpected.empty()) {
    step.note(Severity::warning, "qemu-event",
              "QEMU told of " + step.state.name(guest->id) +
                  " what no guest of ours has a reason to cause: " + event.unexpected +
                  "; what is plugged into it was looked at",
              guest->id);
  }
  SeenOtherwise now;
  compare_areas(step.state, event, now);
  compare_vcpus(step.state, *guest, event, now);
  const SeenOtherwise before = std::exchange(guest->seen_otherwise, now);
  if (has_strange_areas(step, *guest, in_both(now.strange, before.strange))) return;
  for (const AreaId id : in_both(now.absent, before.absent)) {
    if (is_at_rest(step.state.table.area(id).state)) is_absent(step, *guest, id);
  }
  for (const auto& [app, has] : now.vcpus) {
    const auto found = before.vcpus.find(app);
    if (found != before.vcpus.end() && found->second == has) vcpus_differ(step, *guest, app, has);
  }
}

}  // namespace understudy::core

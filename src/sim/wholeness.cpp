// What "everything is well" means, said of the truth and of the journal.
#include "base/memory_rules.hpp"
#include "core/view.hpp"
#include "sim/describe.hpp"
#include "sim/simulation.hpp"

#include <algorithm>

namespace understudy::sim {

// Whether this guest, which is well, could carry the application with the areas that are free or its own.
bool Simulation::could_carry(core::GuestId guest, core::AppId app, std::uint32_t free_areas) const {
  const Bytes area_bytes = world.setup().pool.area_bytes;
  const Bytes usable = usable_bytes(area_bytes);
  const Vm& vm = world.vm(guest);
  std::uint32_t used = 0;
  for (const AreaTruth& area : world.areas) used += area.in == vm.run ? 1 : 0;
  const std::uint32_t slots = world.definition(guest).slots - std::min(world.definition(guest).slots, used);
  const Bytes available = std::min(world.memory(guest).available_bytes, world.definition(guest).base_bytes);
  const Bytes spare = base_use_bytes(available);
  const std::uint32_t areas = std::min(free_areas, slots);
  if (areas * usable + spare < world.setup().app(app).minimum_bytes) return false;
  // Areas larger than a memory block are paid for from the guest's own memory.
  return area_bytes <= kSelfCarryingBytes ||
         world.setup().app(app).desired_bytes / kMemmapDivisor + area_bytes / kMemmapDivisor <= spare;
}

std::string Simulation::app_not_whole(core::AppId app) const {
  const core::AppSetup& setup = world.setup().app(app);
  std::uint32_t own = 0;
  std::uint32_t free_areas = 0;
  const Vm* holder = nullptr;
  for (const Vm& vm : world.vms) {
    if (vm.executes() && vm.apps[app.value].exists && vm.apps[app.value].serving) holder = &vm;
  }
  for (const core::AreaRecord& area : journal.areas()) {
    if (area.user == app) {
      // By policy, what a living OS did not let go of stays with it until it is restarted.
      if (setup.on_release_limit == core::OnReleaseLimit::take_part &&
          area.state == core::AreaState::releasing) {
        continue;
      }
      ++own;
      if (holder != nullptr && area.in != holder->run) {
        return "area " + std::to_string(area.area.value) + " of " + setup.name + " is not where it serves";
      }
      if (holder != nullptr && area.state != core::AreaState::engaged) {
        return "area " + std::to_string(area.area.value) + " of " + setup.name + " stays " +
               core::area_state_name(area.state);
      }
      if (holder != nullptr && !world.areas[area.area.value].usable_in(holder->run))
        return "area " + std::to_string(area.area.value) + " of " + setup.name +
               " was ejected, and nobody knows";
    } else if (area.state == core::AreaState::unused) {
      ++free_areas;
    } else if (!area.user) {
      return "area " + std::to_string(area.area.value) + " is nobody's and not unused";
    }
  }
  if (holder == nullptr) {
    const std::size_t candidates = setup.hot_standby ? setup.guests.size() : 1;
    for (std::size_t i = 0; i < candidates; ++i) {
      if (could_carry(setup.guests[i], app, own + free_areas)) {
        return setup.name + " runs nowhere, and " + world.setup().guest(setup.guests[i]).name +
               " could carry it";
      }
    }
    return "";
  }
  if (setup.has_address && world.routes[app.value] != holder->run) {
    return "clients of " + setup.name + " do not reach it";
  }
  const core::AppRecord& record = journal.app(app);
  if (record.state != core::AppDurable::serving || record.in != holder->run) {
    return setup.name + " serves and the journal does not say so";
  }
  return setup.hot_standby ? standby_not_whole(app, holder->run.guest, own + free_areas) : "";
}

// What the user is told of a takeover now is compared with whether it would work, as far as that can be seen
// from one application alone. That what is called protected really is, with all that fails at once, is tried
// (trial.cpp).
std::string Simulation::standby_not_whole(core::AppId app, core::GuestId holder, std::uint32_t areas) const {
  const core::AppSetup& setup = world.setup().app(app);
  const bool would_work = std::any_of(setup.guests.begin(), setup.guests.end(), [&](core::GuestId id) {
    return id != holder && could_carry(id, app, areas);
  });
  const core::State& state = daemon_->core.state();
  const core::Protection said = told(state, state.app(app));
  if (would_work == said.is_protected) return "";
  // Others may be in its way then, or make room by failing at the same time; or it has been moved too often.
  const bool others = std::any_of(state.apps.begin(), state.apps.end(), [&](const core::Application& other) {
    if (other.id == app || world.setup().app(other.id).rehearses) return false;
    return other.serving() == nullptr || other.serving()->on.guest == holder ||
           world.setup().app(other.id).preempts;
  });
  if (others || setup.flap_takeovers > 0) return "";
  if (!would_work)
    return setup.preempts ? "" : setup.name + " is called protected, and nobody could take it over";
  return setup.name + " could be protected and is not: " + said.why;
}

// Nothing is left of a rehearsal, wherever it was.
std::string Simulation::rehearsal_not_over(core::AppId twin) const {
  const std::string& name = world.setup().app(twin).name;
  for (const Vm& vm : world.vms) {
    if (!vm.may_execute() || !vm.apps[twin.value].exists) continue;
    // By policy it costs nobody else his guest, however long it does not end (`stop-overdue`).
    const bool with_others =
        std::count_if(vm.apps.begin(), vm.apps.end(), [](const AppInside& app) { return app.exists; }) > 1;
    return vm.apps[twin.value].undying && with_others ? "" : name + " still runs";
  }
  for (const core::AreaRecord& area : journal.areas()) {
    if (area.user == twin) return "area " + std::to_string(area.area.value) + " is still of " + name;
  }
  return journal.app(twin).state == core::AppDurable::idle ? "" : name + " is not over";
}

// Its vCPUs are where it serves, and nowhere else.
std::string Simulation::vcpus_not_whole(core::AppId app) const {
  const core::AppSetup& setup = world.setup().app(app);
  for (const Vm& vm : world.vms) {
    const AppInside& inside = vm.apps[app.value];
    const std::uint32_t due = inside.exists && inside.serving ? setup.vcpus : 0;
    const std::uint32_t in = vm.vcpus[app.value];
    if (in != due) {
      return setup.name + " has " + std::to_string(in) + " vCPUs in " +
             world.setup().guest(vm.run.guest).name + " and should have " + std::to_string(due);
    }
  }
  return "";
}

std::string Simulation::not_whole() const {
  if (!daemon_) return "the daemon is down";
  for (const Vm& vm : world.vms) {
    if (!vm.agent_runs() || vm.linked != world.daemon)
      return world.setup().guest(vm.run.guest).name + " is not back";
    if (journal.guest(vm.run.guest).run != vm.run.run) return "the journal does not know the guest's run";
  }
  for (std::uint32_t i = 0; i < world.setup().apps.size(); ++i) {
    if (world.setup().apps[i].rehearses) {
      if (std::string why = rehearsal_not_over(core::AppId{i}); !why.empty()) return why;
      continue;
    }
    std::string why = app_not_whole(core::AppId{i});
    if (why.empty()) why = vcpus_not_whole(core::AppId{i});
    if (!why.empty()) return why;
  }
  return "";
}

std::string Simulation::not_down() const {
  if (!daemon_) return "the daemon is down";
  for (const Vm& vm : world.vms) {
    if (vm.process) return "the process of " + world.setup().guest(vm.run.guest).name + " is still there";
  }
  for (const core::AppRecord& app : journal.apps()) {
    if (app.state != core::AppDurable::idle && app.state != core::AppDurable::failed) {
      return world.setup().app(app.app).name + " is still " + core::app_durable_name(app.state);
    }
  }
  for (const core::AreaRecord& area : journal.areas()) {
    if (area.state != core::AreaState::unused) {
      return "area " + std::to_string(area.area.value) + " is still " + core::area_state_name(area.state);
    }
  }
  for (const auto& route : world.routes) {
    if (route) return "an address still leads somewhere";
  }
  return daemon_->core.is_down() ? "" : "the core does not say that it is down";
}

}  // namespace understudy::sim

#include "core/view.hpp"

#include <algorithm>
#include <cstdio>

namespace understudy::core {

namespace {

std::string area_name(AreaId id) {
  char name[32];
  std::snprintf(name, sizeof name, "area-%04u", id.value);
  return name;
}

// Where the areas of an application go when its guest fails: to the guest that takes it over, to nobody when
// it would be given up; nowhere while it waits for a standby, or is on its way already.
std::string target_of(const State& state, const Application& app) {
  const Protection p = protection(state, app);
  if (p.is_protected) return state.name(*p.standby);
  return p.would_be_given_up ? "unused" : "";
}

Row area_row(const State& state, const Area& area) {
  Row row{area_name(area.id),         state.setup.pool.area_bytes, Use::unused, "", "", "",
          area_state_name(area.state)};
  if (area.user) {
    row.use = Use::application;
    row.user = state.name(*area.user);
    row.takeover_target = target_of(state, state.app(*area.user));
  }
  if (area.in) row.attached_to = state.name(area.in->guest);
  return row;
}

const char* vcpus_word(const AppVcpus& held, bool at_home) {
  switch (held.doing) {
    case AppVcpus::Doing::plugging: return "plugging";
    case AppVcpus::Doing::unplugging: return "unplugging";
    case AppVcpus::Doing::nothing: return at_home ? "plugged" : "kept";
  }
  return "?";
}

// Where the vCPUs of an application that are in this guest go when it or the application fails.
std::string vcpu_target(const State& state, const Application& app) {
  const std::string target = target_of(state, app);
  return target == "unused" ? "" : target;
}

std::vector<VcpuRow> vcpu_rows(const State& state) {
  std::vector<VcpuRow> rows;
  for (const Guest& guest : state.guests) {
    const std::string& name = state.name(guest.id);
    const std::uint32_t base = state.definition(guest.id).vcpus;
    rows.push_back({"vcpus-" + name, base, base, Use::os, name, name, "", guest_state_name(guest.state), ""});
    for (const auto& [id, held] : guest.vcpus) {
      const Application& app = state.app(id);
      const bool at_home = app.place() == guest.current();
      rows.push_back({"vcpus-" + name + "-" + state.name(id), held.count,
                      at_home ? state.setup.app(id).vcpus : 0, Use::application, state.name(id), name,
                      at_home ? vcpu_target(state, app) : "", vcpus_word(held, at_home), held.trouble});
    }
  }
  for (const Application& app : state.apps) {
    const std::uint32_t vcpus = state.setup.app(app.id).vcpus;
    const bool somewhere = std::any_of(state.guests.begin(), state.guests.end(),
                                       [&](const Guest& guest) { return guest.vcpus.count(app.id) != 0; });
    if (vcpus == 0 || somewhere) continue;
    rows.push_back({"vcpus-" + state.name(app.id), 0, app.wanted ? vcpus : 0, Use::application,
                    state.name(app.id), "", vcpu_target(state, app), "unplugged", ""});
  }
  return rows;
}

}  // namespace

std::string app_state_word(const Application& app) {
  struct Word {
    const Application& app;
    std::string operator()(const app_state::Idle&) const { return "stopped"; }
    std::string operator()(const app_state::Moving& moving) const {
      if (app.in_step<move_step::Choosing>() != nullptr) return "waiting";
      return moving.move.from ? "moving" : "starting";
    }
    std::string operator()(const app_state::Serving& serving) const {
      if (!serving.trouble.empty()) return "restarting";
      if (!serving.unreachable.empty()) return "unreachable";
      // "Serving" is said when clients can be served.
      if (serving.unrouted) return serving.unrouted->from ? "moving" : "starting";
      return "serving";
    }
    std::string operator()(const app_state::Failed& failed) const {
      return failed.by_order() ? "stopped" : "failed";
    }
  };
  return std::visit(Word{app}, app.state);
}

std::string app_trouble(const Application& app) {
  struct Trouble {
    const Application& app;
    std::string operator()(const app_state::Idle&) const { return "it is stopped"; }
    std::string operator()(const app_state::Moving& moving) const {
      const auto* choosing = app.in_step<move_step::Choosing>();
      if (choosing != nullptr && !choosing->why_not_yet.empty()) return "it waits: " + choosing->why_not_yet;
      const auto* stopping = app.in_step<move_step::Stopping>();
      if (stopping != nullptr && stopping->overdue)
        return "it does not end, and its guest is not ended for it (" + moving.move.cause + ")";
      return std::string(move_step_name(moving.move.step)) + " (" + moving.move.cause + ")";
    }
    std::string operator()(const app_state::Serving& serving) const {
      if (!serving.trouble.empty() || serving.unreachable.empty()) return serving.trouble;
      return "no client can be led to it: " + serving.unreachable;
    }
    std::string operator()(const app_state::Failed& failed) const {
      return failed.by_order() ? "it was stopped by order" : "it was given up: " + failed.why;
    }
  };
  return std::visit(Trouble{app}, app.state);
}

std::optional<TakeoverReport> report_under_way(const State& state, const Application& app) {
  const auto* serving = app.serving();
  const Move* move = app.moving() != nullptr ? &app.moving()->move : nullptr;
  if (serving != nullptr && serving->unrouted) move = &*serving->unrouted;
  if (move == nullptr) return std::nullopt;
  struct Now {
    std::optional<Phase> operator()(const move_step::Stopping&) const { return Phase::detach; }
    std::optional<Phase> operator()(const move_step::Releasing&) const { return Phase::detach; }
    std::optional<Phase> operator()(const move_step::AwaitingFence&) const { return Phase::fence; }
    std::optional<Phase> operator()(const move_step::Resuming&) const { return std::nullopt; }
    std::optional<Phase> operator()(const move_step::Choosing&) const { return std::nullopt; }
    std::optional<Phase> operator()(const move_step::Sizing&) const { return Phase::attach; }
    std::optional<Phase> operator()(const move_step::Plugging&) const { return Phase::attach; }
    std::optional<Phase> operator()(const move_step::Engaging&) const { return Phase::online; }
    std::optional<Phase> operator()(const move_step::Starting&) const { return Phase::start; }
    std::optional<Phase> operator()(const move_step::Yielding&) const { return std::nullopt; }
  };
  TakeoverReport report = move->report;
  const auto phase = serving != nullptr ? Phase::serving : std::visit(Now{}, move->step);
  (phase ? report.phases[static_cast<std::size_t>(*phase)] : report.waited) += state.now - move->mark;
  report.result = "under way: ";
  report.result += serving != nullptr ? "its address is being led there" : app_trouble(app);
  return report;
}

Bytes areas_bytes(const State& state, GuestRun run) {
  return state.table.count_in(run) * state.setup.pool.area_bytes;
}

std::uint32_t application_vcpus(const Guest& guest) {
  std::uint32_t count = 0;
  for (const auto& [app, held] : guest.vcpus) count += held.count;
  return count;
}

const char* use_name(Use use) {
  switch (use) {
    case Use::os: return "os";
    case Use::vmm: return "vmm";
    case Use::application: return "application";
    case Use::unused: return "unused";
  }
  return "?";
}

TableView table_view(const State& state, const std::vector<VmmUse>& vmm) {
  TableView view;
  view.pool_bytes = state.setup.pool.budget_bytes;
  for (const Guest& guest : state.guests) {
    const std::string& name = state.name(guest.id);
    Bytes os_bytes = state.definition(guest.id).base_bytes;
    for (const Application& app : state.apps) {
      const auto* serving = app.serving();
      if (serving == nullptr || serving->on != guest.current() || serving->base_use_bytes == 0) continue;
      const Bytes bytes = std::min(os_bytes, serving->base_use_bytes);
      os_bytes -= bytes;
      view.rows.push_back({"base-" + name + "-" + state.name(app.id), bytes, Use::application,
                           state.name(app.id), name, "", "in use"});
    }
    view.rows.push_back({"os-" + name, os_bytes, Use::os, name, name, "", guest_state_name(guest.state)});
  }
  for (const VmmUse& use : vmm) {
    view.rows.push_back({"vmm-" + use.part, use.bytes, Use::vmm, "understudy", "", "", "measured"});
  }
  for (const Area& area : state.table.areas()) view.rows.push_back(area_row(state, area));
  view.vcpus = vcpu_rows(state);
  Bytes sum = 0;
  for (const Row& row : view.rows) sum += row.bytes;
  if (sum > view.pool_bytes) {
    view.over_budget_bytes = sum - view.pool_bytes;
  } else {
    view.rows.push_back({"rest", view.pool_bytes - sum, Use::unused, "", "", "", "unused"});
  }
  return view;
}

}  // namespace understudy::core

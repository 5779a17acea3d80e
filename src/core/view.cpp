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

// Where the areas of an application go when it or its guest fails.
std::string target_of(const State& state, const Application& app) {
  if (!state.setup.app(app.id).hot_standby) return "unused";
  const Protection p = protection(state, app);
  return p.standby ? state.name(*p.standby) : "unused";
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

std::optional<Duration> predicted_takeover(const State& state, const Application& app) {
  const auto placing = app.placing.median();
  if (!placing) return std::nullopt;
  return *placing + state.clearing.median().value_or(Duration{});
}

Protection protection(const State& state, const Application& app) {
  const AppSetup& setup = state.setup.app(app.id);
  Protection result;
  if (!setup.hot_standby) {
    result.why = "it is not a hot standby job";
    return result;
  }
  const auto* serving = app.serving();
  const auto place = app.place();
  for (const GuestId id : setup.guests) {
    if (place && id == place->guest) continue;
    const std::string reason = why_not(state, app, state.guest(id));
    if (reason.empty()) {
      result.standby = id;
      result.why.clear();
      break;
    }
    if (!result.standby) result.standby = id;
    if (!result.why.empty()) result.why += "; ";
    result.why += reason;
  }
  if (const std::string why = hands_off(state, app); !why.empty()) result.why = why;
  if (!state.journal_trouble.empty()) result.why = state.journal_trouble;
  if (serving == nullptr || !serving->unreachable.empty()) result.why = app_trouble(app);
  if (serving != nullptr && !state.guest(serving->on.guest).believed_up()) {
    result.why = state.name(serving->on.guest) + " has failed";
  }
  result.is_protected = result.why.empty();
  return result;
}

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
    std::string operator()(const app_state::Failed&) const { return "failed"; }
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
      return std::string(move_step_name(moving.move.step)) + " (" + moving.move.cause + ")";
    }
    std::string operator()(const app_state::Serving& serving) const {
      if (!serving.trouble.empty() || serving.unreachable.empty()) return serving.trouble;
      return "no client can be led to it: " + serving.unreachable;
    }
    std::string operator()(const app_state::Failed& failed) const { return "it was given up: " + failed.why; }
  };
  return std::visit(Trouble{app}, app.state);
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

// What the operator may ask of a running daemon. Names are resolved and senseless orders refused here, with
// an answer for the operator; the core then sees an event like any other.
#include "base/doing.hpp"
#include "core/view.hpp"
#include "daemon/daemon.hpp"
#include "daemon/maintenance_file.hpp"
#include "daemon/proof_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace understudy::daemon {

namespace json = boost::json;
using core::FaultKind;

Result<core::AppId> Daemon::app_named(const std::string& name) const {
  std::string known;
  for (std::uint32_t i = 0; i < config_.applications.size(); ++i) {
    if (setup_.apps[i].name == name) return core::AppId{i};
    known += (known.empty() ? "" : ", ") + setup_.apps[i].name;
  }
  return failure("no application is called \"" + name + "\"; there are: " + known);
}

Result<json::value> Daemon::handle(const control::Command& command) {
  const Doing doing("a command");
  struct Visit {
    Daemon& daemon;
    using Answer = Result<json::value>;
    Answer operator()(const control::command::Status&) const {
      return json::value(control::status_json(daemon.core_->state(), daemon.host_view()));
    }
    Answer operator()(const control::command::Table&) const {
      return json::value(control::table_json(daemon.core_->state(), daemon.host_view()));
    }
    Answer operator()(const control::command::Report& c) const { return daemon.handle_report(c); }
    Answer operator()(const control::command::Events&) const {
      return failure("events are answered by the server");
    }
    Answer operator()(const control::command::Takeover& c) const { return daemon.handle_takeover(c); }
    Answer operator()(const control::command::Fault& c) const { return daemon.handle_fault(c); }
    Answer operator()(const control::command::Start& c) const { return daemon.handle_start(c); }
    Answer operator()(const control::command::Stop& c) const { return daemon.handle_stop(c); }
    Answer operator()(const control::command::Logs& c) const { return daemon.handle_logs(c); }
    Answer operator()(const control::command::Maintenance& c) const { return daemon.handle_maintenance(c); }
    Answer operator()(const control::command::Rehearse& c) const { return daemon.handle_rehearse(c); }
    Answer operator()(const control::command::Down&) const {
      daemon.going_down_ = true;
      daemon.engine_->deliver(core::event::BringDown{});
      return json::value("going down");
    }
  };
  return std::visit(Visit{*this}, command);
}

Result<json::value> Daemon::handle_report(const control::command::Report& command) {
  std::optional<core::AppId> app;
  if (!command.app.empty()) {
    const auto named = app_named(command.app);
    if (!named) return tl::unexpected(named.error());
    app = *named;
  }
  const core::State& state = core_->state();
  // A move that is under way is what whoever asks now means.
  for (const core::Application& one : state.apps) {
    if (state.is_twin(one.id) || (app && *app != one.id)) continue;
    if (const auto under_way = core::report_under_way(state, one))
      return json::value(control::report_json(state, *under_way));
  }
  const core::TakeoverReport* report = log_->last_report(app);
  if (report == nullptr) {
    return failure(command.app.empty() ? "nothing has been started or taken over yet"
                                       : command.app + " has not been started or taken over yet");
  }
  return json::value(control::report_json(core_->state(), *report));
}

Result<json::value> Daemon::handle_takeover(const control::command::Takeover& command) {
  const auto named = app_named(command.app);
  if (!named) return tl::unexpected(named.error());
  const core::State& state = core_->state();
  const core::Application& app = state.app(*named);
  const auto* serving = app.serving();
  if (serving == nullptr) return failure(command.app + " is not serving: " + core::app_trouble(app));
  if (const std::string why = core::why_no_switchover(state, app, command.fence); !why.empty())
    return failure("not now: " + why);
  std::optional<core::GuestId> to;
  if (!command.to.empty()) {
    for (const core::GuestId id : setup_.app(*named).guests) {
      if (setup_.guest(id).name == command.to) to = id;
    }
    if (!to) return failure(command.app + " does not list a guest called \"" + command.to + "\"");
    if (*to == serving->on.guest) return failure(command.app + " already serves on " + command.to);
    const std::string why = core::why_not(state, app, state.guest(*to));
    if (!why.empty()) return failure("not now: " + why);
  } else {
    // Maintenance of what it leaves, and too many takeovers lately, hold up what happens by itself, not an
    // order.
    std::string why = state.journal_trouble;
    if (why.empty()) to = core::ready_standby(state, app, why);
    if (!to) return failure("not now: " + why);
  }
  engine_->deliver(core::event::Switchover{*named, to, command.fence});
  return json::value(command.app + " goes from " + state.name(serving->on.guest) + " to " + state.name(*to) +
                     "; see `understudy report " + command.app + "`");
}

Result<json::value> Daemon::handle_start(const control::command::Start& command) {
  const auto named = app_named(command.app);
  if (!named) return tl::unexpected(named.error());
  const core::Application& app = core_->state().app(*named);
  const bool held_back = core::is_held_back(core_->state(), app);
  if ((app.serving() != nullptr || app.moving() != nullptr) && !held_back) {
    return failure(command.app + " is not stopped: it is " + core::app_state_word(app));
  }
  engine_->deliver(core::event::StartApp{*named});
  return json::value(command.app + " is being started");
}

Result<json::value> Daemon::handle_stop(const control::command::Stop& command) {
  const auto named = app_named(command.app);
  if (!named) return tl::unexpected(named.error());
  const std::string why = core::why_not_stop(core_->state(), core_->state().app(*named));
  if (!why.empty()) return failure("not now: " + why);
  engine_->deliver(core::event::StopApp{*named});
  return json::value(command.app + " is being stopped; `understudy start " + command.app +
                     "` starts it again");
}

Result<json::value> Daemon::handle_logs(const control::command::Logs& command) {
  const auto named = app_named(command.app);
  if (!named) return tl::unexpected(named.error());
  Output& output = outputs_[*named];
  if (command.number == 0) {
    output = {.number = ++outputs_asked_, .guests = {}};
    for (const core::GuestId guest : setup_.app(*named).guests) {
      if (links_->ask_tail(core_->state().guest(guest).current(), *named))
        output.guests[guest] = std::nullopt;
    }
    if (output.guests.empty())
      return failure("no guest of " + command.app + " can be asked now; see `understudy status`");
  } else if (command.number != output.number) {
    return failure("somebody has asked for the output of " + command.app + " since; ask again");
  }
  json::array guests;
  bool complete = true;
  for (const auto& [guest, text] : output.guests) {
    complete &= text.has_value();
    guests.push_back(json::object{{"guest", core_->state().name(guest)},
                                  {"text", text ? json::value(*text) : json::value(nullptr)}});
  }
  return json::value(json::object{{"application", command.app},
                                  {"number", output.number},
                                  {"complete", complete},
                                  {"guests", std::move(guests)}});
}

Result<json::value> Daemon::handle_maintenance(const control::command::Maintenance& command) {
  core::event::Maintenance event{{}, {}, command.lasts};
  bool was = false;
  std::string known;
  for (const core::Guest& guest : core_->state().guests) {
    const std::string& name = core_->state().name(guest.id);
    known += (known.empty() ? "" : ", ") + name;
    if (name != command.target) continue;
    event.guest = guest.id;
    was |= guest.maintenance_until.has_value();
  }
  for (const core::Application& app : core_->state().apps) {
    if (core_->state().is_twin(app.id)) continue;
    const std::string& name = core_->state().name(app.id);
    known += ", " + name;
    if (name != command.target) continue;
    event.app = app.id;
    was |= app.maintenance_until.has_value();
  }
  if (!event.guest && !event.app)
    return failure("no guest or application is called \"" + command.target + "\"; there are: " + known);
  const bool ends = command.lasts == Duration{};
  if (ends && !was) return failure(command.target + " is not in maintenance");
  engine_->deliver(event);
  remember_maintenance();
  if (ends) return json::value(command.target + " is no longer in maintenance: its faults are handled again");
  return json::value(command.target + " is in maintenance until " + control::wall_clock(command.lasts) +
                     ": its faults move nothing until then, or until `understudy maintenance " +
                     command.target + " --end`");
}

void Daemon::remember_maintenance() {
  std::vector<MaintenanceRow> rows;
  const Time now = clock_->now();
  const auto add = [&](const std::string& name, const std::optional<Time>& until) {
    if (until && *until > now) rows.push_back({name, std::chrono::system_clock::now() + (*until - now)});
  };
  for (const core::Guest& guest : core_->state().guests)
    add(core_->state().name(guest.id), guest.maintenance_until);
  for (const core::Application& app : core_->state().apps)
    add(core_->state().name(app.id), app.maintenance_until);
  in_background([file = files_.maintenance(), rows] { return write_maintenance(file, rows); });
}

// What a later daemon is to know, and no takeover waits for.
void Daemon::in_background(std::function<Result<void>()> write) {
  background_.run([this, alive = std::weak_ptr(alive_), write = std::move(write)] {
    const Result<void> written = write();
    const auto here = alive.lock();
    if (written || !here) return;
    boost::asio::post(loop_, [this, why = written.error().message] {
      log_->notice(clock_->now(), {core::Severity::warning,
                                   "state-unwritten",
                                   why + ": the next daemon will not know what is in it now",
                                   {},
                                   {}});
    });
  });
}

void Daemon::resume_maintenance() {
  for (const MaintenanceRow& row : read_maintenance(files_.maintenance())) {
    const auto left = std::chrono::ceil<std::chrono::seconds>(row.until - std::chrono::system_clock::now());
    const Duration lasts = std::min<Duration>(left, control::kLongestMaintenance);
    if (lasts > Duration{}) (void)handle_maintenance({row.name, lasts});
  }
}

Result<json::value> Daemon::handle_rehearse(const control::command::Rehearse& command) {
  const auto named = app_named(command.app);
  if (!named) return tl::unexpected(named.error());
  const std::string why = core::why_no_rehearsal(core_->state(), core_->state().app(*named), command.start);
  if (!why.empty()) return failure("not now: " + why);
  engine_->deliver(core::event::Rehearse{*named, command.start});
  return json::value(json::object{{"rehearsal", core_->state().rehearsals}});
}

void Daemon::remember_proofs() {
  const core::State& state = core_->state();
  if (std::exchange(proofs_remembered_, state.proof_changes) == state.proof_changes) return;
  std::vector<ProofRow> rows;
  for (const core::Application& app : state.apps) {
    if (!app.proof || !app.proof->void_why.empty()) continue;
    const core::Proof& proof = *app.proof;
    rows.push_back({state.name(app.id), state.name(proof.on),
                    std::chrono::system_clock::now() - (clock_->now() - proof.at), proof.start, proof.took,
                    proof.bytes, definition_stamp(config_.applications.at(app.id.value)), proof.image});
  }
  in_background([file = files_.proofs(), rows] { return write_proofs(file, rows); });
}

void Daemon::resume_proofs() {
  for (const ProofRow& row : read_proofs(files_.proofs())) {
    const auto named = app_named(row.app);
    const auto ago = std::chrono::duration_cast<Duration>(std::chrono::system_clock::now() - row.at);
    if (!named || ago < Duration{}) continue;  // a clock that was set back: how old it is nobody knows
    if (row.definition != definition_stamp(config_.applications.at(named->value))) continue;
    for (const core::Guest& guest : core_->state().guests) {
      if (core_->state().name(guest.id) != row.guest) continue;
      engine_->deliver(core::event::Proven{*named, ago, row.start, guest.id, row.took, row.bytes, row.image});
    }
  }
}

// What a drill is going to show, said before: the same answer as in `status`.
std::string Daemon::expected_of_failure(core::GuestId guest, FaultKind kind) const {
  if (kind == FaultKind::agent_silence) return "";  // no failure of the guest
  const core::State& state = core_->state();
  std::string text;
  for (const core::Application& app : state.apps) {
    const auto* serving = app.serving();
    if (state.is_twin(app.id) || serving == nullptr || serving->on.guest != guest) continue;
    const core::Protection said = core::protection(state, app);
    text += "; " + state.name(app.id) +
            (said.is_protected ? " is expected on " + state.name(*said.standby)
                               : " is not expected to be taken over: " + said.why);
  }
  return text;
}

Result<json::value> Daemon::handle_fault(const control::command::Fault& command) {
  const core::State& state = core_->state();
  std::optional<core::GuestId> guest;
  std::optional<core::AppId> app;
  for (const core::Guest& known : state.guests) {
    if (state.name(known.id) == command.target) guest = known.id;
  }
  for (const core::Application& known : state.apps) {
    const auto* serving = known.serving();
    const bool is_meant = state.name(known.id) == command.target;
    const bool runs_there = guest && serving != nullptr && serving->on.guest == *guest;
    if (is_meant && serving == nullptr)
      return failure(command.target + " serves nowhere; there is nothing to strike");
    if (is_meant || (!app && runs_there)) app = known.id;
    if (is_meant) guest = serving->on.guest;
  }
  if (!guest) return failure("no guest or application is called \"" + command.target + "\"");
  const core::GuestRun run = state.guest(*guest).current();
  if (!state.guest(*guest).believed_up()) {
    return failure(state.name(*guest) + " is not up: " + core::guest_state_name(state.guest(*guest).state));
  }
  const bool strikes_app = command.kind == FaultKind::app_exit || command.kind == FaultKind::app_crash ||
                           command.kind == FaultKind::app_hang;
  if (strikes_app && !app) return failure("no application serves on " + state.name(*guest));

  const std::string expected = strikes_app ? "" : expected_of_failure(*guest, command.kind);
  engine_->deliver(core::event::DrillStarted{*guest, command.kind});
  Result<void> done;
  const auto by_agent = [&]() -> Result<void> {
    if (links_->drill(run, command.kind, app.value_or(core::AppId{}))) return {};
    return failure(state.name(*guest) + "'s agent cannot be reached");
  };
  switch (command.kind) {
    case FaultKind::os_hang: done = hypervisor_->sigstop(run); break;
    case FaultKind::vmm_kill: done = hypervisor_->sigkill(run); break;
    case FaultKind::os_panic:
    case FaultKind::app_exit:
    case FaultKind::app_crash:
    case FaultKind::app_hang:
    case FaultKind::agent_silence: done = by_agent(); break;
  }
  if (!done) return failure("could not cause the fault: " + done.error().message);
  return json::value(std::string(control::fault_name(command.kind)) + " caused in " + state.name(*guest) +
                     expected);
}

control::HostView Daemon::host_view() {
  const Doing doing("looking at memory of the host");
  control::HostView view;
  view.now = clock_->now();
  view.accelerator = accelerator_;
  view.accelerator_reason = accelerator_reason_;
  const auto bytes_of = [this](pid_t pid) {
    return host_bytes_.of(pid, true).value_or(qemu::HostMemory{}).bytes;
  };
  view.vmm.push_back({"understudyd", bytes_of(::getpid())});
  if (gateway_) view.vmm.push_back({"gateway", bytes_of(gateway_->pid())});
  for (const core::Guest& guest : core_->state().guests) {
    const auto memory = hypervisor_->host_memory(guest.current()).value_or(qemu::HostMemory{});
    view.guests.push_back({memory.bytes});
    const Bytes known = core_->state().definition(guest.id).base_bytes + memory.areas_bytes;
    const Bytes overhead = memory.bytes - std::min(memory.bytes, known);
    if (overhead > 0) view.vmm.push_back({"qemu-" + setup_.guest(guest.id).name, overhead});
  }
  return view;
}

}  // namespace understudy::daemon

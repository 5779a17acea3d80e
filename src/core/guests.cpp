// Is a guest alive, and what becomes of it. The failure detector stands here: silence makes a guest suspect,
// and only evidence that does not depend on its agent (pvpanic, the end of its process, a kernel that answers
// no packet) condemns it.
#include "base/check.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace understudy::core {

namespace {

using namespace guest_state;

// A guest that keeps failing before it is ready is launched ever more rarely.
constexpr Duration kFirstBackoff = std::chrono::seconds(1);
constexpr Duration kLongestBackoff = std::chrono::seconds(60);
// Clearing up after a failed guest and booting it again wait for the takeover that it caused, but not longer.
constexpr Duration kClearingDelayLimit = std::chrono::seconds(10);

// A process that was killed ends within milliseconds, one with much memory within seconds.
constexpr Duration kStopWorthSaying = std::chrono::seconds(5);
constexpr Duration kStopSaidAgain = std::chrono::seconds(60);

// An agent that misbehaves as often as this within the window is compromised or broken: its guest is fenced.
// The link reports one kind of misdeed at most once a second.
constexpr std::size_t kMostMisdeeds = 20;
constexpr Duration kMisdeedWindow = std::chrono::seconds(60);

Duration backoff(std::uint32_t times) {
  if (times == 0) return Duration{};
  return std::min<Duration>(kLongestBackoff, kFirstBackoff * (1LL << std::min(times - 1, 10U)));
}

// The time at which the fault began: a drill knows, otherwise it is `fallback`. Ends the drill.
Time fault_began(Guest& guest, Time fallback) {
  if (!guest.drill) return fallback;
  const Time at = guest.drill->at;
  guest.drill.reset();
  return at;
}

bool takeover_under_way(const State& state) {
  return std::any_of(state.apps.begin(), state.apps.end(), [&state](const Application& app) {
    if (state.is_twin(app.id)) return false;
    return app.in_step<move_step::Sizing>() != nullptr || app.in_step<move_step::Plugging>() != nullptr ||
           app.in_step<move_step::Engaging>() != nullptr || app.in_step<move_step::Starting>() != nullptr;
  });
}

// Its next run is started with what the setup says.
void of_the_present_setup(Guest& guest) {
  guest.started_with.reset();
  guest.outdated.clear();
  guest.no_port_for.clear();
}

// Until when it is neither cleared up nor launched for the sake of a takeover; none: nothing is in its way.
std::optional<Time> held_back_until(const State& state, const Guest& guest) {
  if (!guest.down_since || !takeover_under_way(state)) return std::nullopt;
  return *guest.down_since + kClearingDelayLimit;
}

bool held_back(const Step& step, const Guest& guest) {
  const auto until = held_back_until(step.state, guest);
  return until && step.now < *until;
}

void launch(Step& step, Guest& guest) {
  ++guest.run;
  guest.adopted = false;
  guest.unsettled = false;
  guest.state_due.reset();
  guest.state_asked.reset();
  guest.down_since.reset();
  guest.leftovers.clear();
  guest.misdeeds.clear();
  of_the_present_setup(guest);
  guest.stop_evidence.clear();
  guest.state = Launching{};
  step.out.launch.push_back({guest.current()});
  step.note(Severity::info, "guest-launching", step.state.name(guest.id) + " is being launched", guest.id);
}

void suspect(Step& step, Guest& guest, const Ready& was) {
  if (!guest.adopted) guest.state_due.reset();  // it is asked again when it greets
  guest.state = Suspect{.last_beat = was.last_beat,
                        .memory = was.memory,
                        .kernel_silent_since = step.now,
                        .kernel_answered = false,
                        .next_probe = step.now,
                        .probing = true};
  step.out.probe.push_back({guest.current()});
  step.note(Severity::warning, "guest-suspected",
            step.state.name(guest.id) + "'s agent has been silent for " +
                std::to_string(static_cast<long>(to_ms(step.now - was.last_beat))) + " ms (limit " +
                format_duration(step.state.setup.guest(guest.id).heartbeat_limit) + "); asking its kernel",
            guest.id);
}

void heard(Step& step, Guest& guest, const MemoryReport& memory) {
  if (auto* ready = std::get_if<Ready>(&guest.state)) {
    ready->last_beat = step.now;
    ready->memory = memory;
  } else if (std::holds_alternative<Suspect>(guest.state)) {
    guest.state = Ready{step.now, memory};
    step.note(
        Severity::info, guest.adopted ? "guest-ready" : "guest-answers",
        step.state.name(guest.id) + (guest.adopted ? " answers, it has lived on" : "'s agent answers again"),
        guest.id);
    if (guest.adopted && !guest.state_asked) ask_state(step, guest);
  }
}

// The deadline of something that only whoever works on the guest in maintenance may be holding up.
Time after_maintenance(const Guest& guest, Time due) {
  return guest.maintenance_until ? std::max(due, *guest.maintenance_until) : due;
}

// How often it is said that a silent agent, which is left alone, keeps an application waiting.
constexpr Duration kSaidAgain = std::chrono::seconds(60);

// What a daemon that was started again has to know of the guest did not come.
void state_overdue(Step& step, Guest& guest) {
  const std::string& name = step.state.name(guest.id);
  if (guest.unsettled) {
    return condemn(step, guest, name + "'s monitor has not answered since the daemon's restart", step.now);
  }
  const bool silent = guest.ready() == nullptr;
  std::string waiting;
  bool serves = false;
  for (const Application& app : step.state.apps) {
    if (app.place() != guest.current()) continue;
    serves = serves || app.serving() != nullptr;
    if (app.in_step<move_step::Resuming>() != nullptr)
      waiting += (waiting.empty() ? "" : ", ") + step.state.name(app.id);
  }
  if (silent && serves) {
    // As its limit allows, a silent agent is left alone; but somebody waits for it.
    guest.state_due = step.now + kSaidAgain;
    if (waiting.empty()) return;
    return step.note(Severity::warning, "takeover-waits",
                     waiting + " cannot be moved while " + name +
                         "'s agent is silent: what runs there is not known since the daemon's restart; "
                         "silent_agent_limit would end " +
                         name + ", where others serve",
                     guest.id);
  }
  condemn(
      step, guest,
      name + "'s agent did not say within " + format_duration(step.state.setup.guest(guest.id).boot_limit) +
          " which applications it runs since " + (guest.adopted ? "the daemon's restart" : "it greeted anew"),
      step.now);
}

std::string with_console(const std::string& console) {
  return console.empty() ? "" : "; the end of its console:\n" + console;
}

// Verified stopped. From here on, whatever it held can go elsewhere.
void stopped(Step& step, Guest& guest, const std::string& how, bool process_left,
             const std::string& console = "") {
  const GuestRun run = guest.current();
  std::string why = how;
  if (const auto* fencing = std::get_if<Fencing>(&guest.state)) why = fencing->why;
  const bool dump = process_left && guest.wanted && step.state.setup.guest(guest.id).dump;
  guest.state = Fenced{why, step.now, process_left, dump ? Fenced::Dump::wanted : Fenced::Dump::done};
  guest.down_since = step.now;
  step.state.table.guest_stopped(run);
  guest.vcpus.clear();
  step.note(Severity::info, "guest-fenced",
            step.state.name(guest.id) + " is verified stopped: " + how +
                (guest.wanted ? with_console(console) : ""),
            guest.id);
  for (Application& app : step.state.apps) guest_stopped(step, app, run);
}

void advance_suspect(Step& step, Guest& guest, Suspect& suspicion) {
  const GuestSetup& setup = step.state.setup.guest(guest.id);
  if (guest.state_due && step.now >= after_maintenance(guest, *guest.state_due)) {
    state_overdue(step, guest);
    if (!std::holds_alternative<Suspect>(guest.state)) return;
  }
  const bool hands_off = guest.maintenance_until && step.now < *guest.maintenance_until;
  if (!hands_off && setup.silent_agent_limit > Duration{} &&
      step.now - suspicion.last_beat >= setup.silent_agent_limit) {
    condemn(step, guest,
            "agent of " + setup.name + " silent for " + format_duration(setup.silent_agent_limit),
            fault_began(guest, suspicion.last_beat));
    return;
  }
  if (!suspicion.probing && step.now >= suspicion.next_probe) {
    suspicion.probing = true;
    step.out.probe.push_back({guest.current()});
  }
}

std::string after_evidence(const Guest& guest) {
  return (guest.stop_evidence.empty() ? "nothing is known of why" : guest.stop_evidence) +
         "; if it waits in the kernel, mend what it waits for (a disk or network file system that does not "
         "answer, a frozen cgroup): it goes on by itself then; only the end of the process or a restart of "
         "the "
         "host gives its memory free";
}

// Nothing ends these two waits but the guest's end: they are said, again and again.
template <class State>
void say_delay(Step& step, const Guest& guest, State& waiting, Severity severity, const std::string& what) {
  if (step.now < waiting.say_at) return;
  waiting.say_at = step.now + kStopSaidAgain;
  step.note(severity, "stop-delayed",
            step.state.name(guest.id) + what + format_duration(step.now - waiting.since) + " (" +
                after_evidence(guest) + ")",
            guest.id);
}

}  // namespace

const char* guest_state_name(const GuestState& state) {
  struct Names {
    const char* operator()(const Off&) const { return "off"; }
    const char* operator()(const Adopting&) const { return "adopting"; }
    const char* operator()(const Launching&) const { return "launching"; }
    const char* operator()(const Booting&) const { return "booting"; }
    const char* operator()(const Ready&) const { return "ready"; }
    const char* operator()(const Suspect&) const { return "suspect"; }
    const char* operator()(const Fencing&) const { return "fencing"; }
    const char* operator()(const Fenced&) const { return "fenced"; }
    const char* operator()(const Discarding&) const { return "discarding"; }
  };
  return std::visit(Names{}, state);
}

GuestRecord Guest::record() const {
  GuestRecord record{id, run, GuestDurable::up, "", wanted};
  if (std::holds_alternative<Off>(state)) record.state = GuestDurable::off;
  if (const auto* fencing = std::get_if<Fencing>(&state)) {
    record.state = GuestDurable::fencing;
    record.why = fencing->why;
  }
  if (const auto* fenced = std::get_if<Fenced>(&state)) {
    record.state = GuestDurable::fenced;
    record.why = fenced->why;
  }
  if (std::holds_alternative<Discarding>(state)) record.state = GuestDurable::fenced;
  if (const auto* adopting = std::get_if<Adopting>(&state)) {
    record.state = adopting->was;
    record.why = adopting->why;
  }
  return record;
}

void ask_state(Step& step, Guest& guest) {
  if (guest.unsettled) return;  // what its agent says could not be judged yet
  if (!guest.state_due) guest.state_due = step.now + step.state.setup.guest(guest.id).boot_limit;
  guest.state_asked = step.now;
  step.out.state.push_back({guest.current()});
}

void adopted(Step& step, Guest& guest, bool executing) {
  const GuestSetup& setup = step.state.setup.guest(guest.id);
  const GuestRun run = guest.current();
  guest.state_due = step.now + setup.boot_limit;
  bool lived = guest.unsettled || !executing || step.state.table.count_in(run) > 0;
  for (const Application& app : step.state.apps) lived = lived || app.place() == run;
  if (!lived) {
    // It may still be booting.
    guest.state = Booting{step.now + setup.boot_limit};
    return;
  }
  // Not heard of by this daemon. One that executes is given the time to greet before its kernel is asked.
  const bool ask = guest.unsettled || !executing;
  const Time first = ask ? step.now : step.now + setup.heartbeat_limit;
  guest.state = Suspect{.last_beat = step.now,
                        .memory = {},
                        .kernel_silent_since = first,
                        .kernel_answered = false,
                        .next_probe = first,
                        .probing = ask};
  if (ask) step.out.probe.push_back({run});
}

void condemn(Step& step, Guest& guest, const std::string& why, Time since) {
  const bool has_process =
      guest.believed_up() || guest.coming_up() || std::holds_alternative<Adopting>(guest.state);
  if (!has_process) return;  // it is being fenced already, or there is nothing to fence
  const GuestRun run = guest.current();
  step.note(guest.wanted ? Severity::error : Severity::info, "guest-fencing",
            step.state.name(guest.id) + " is being fenced: " + why, guest.id);
  guest.state = Fencing{why, step.now, step.now + kStopWorthSaying};
  step.out.fence.push_back({run});
  for (Application& app : step.state.apps) {
    if (app.place() != run) continue;
    if (app.serving() != nullptr) {
      step.out.withdraw.push_back({app.id});
      begin_move(step, app, why, guest.id, since, move_step::AwaitingFence{run});
      count_takeover(step, app);
    } else {
      if (step.state.is_twin(app.id)) rehearsal_fails(app, why);
      if (auto* moving = app.moving(); moving != nullptr && moving->move.in_vain_why.empty())
        moving->move.in_vain_why = why;
      enter_fencing(step, app, run);
    }
  }
}

void handle(Step& step, const event::DrillStarted& event) {
  Guest& guest = step.state.guest(event.guest);
  guest.drill = Drill{event.kind, step.now};
  step.note(Severity::warning, "drill", "a fault is being caused on purpose in " + step.state.name(guest.id),
            guest.id);
}

void handle(Step& step, const event::GuestLaunched& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || !std::holds_alternative<Launching>(guest->state)) return;
  guest->state = Booting{step.now + step.state.setup.guest(guest->id).boot_limit};
  image_booted(step, *guest, event.image);
}

void handle(Step& step, const event::LaunchFailed& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr) return;
  if (std::holds_alternative<Fencing>(guest->state)) {
    stopped(step, *guest, "it was never started: " + event.why, false);
    return;
  }
  if (!std::holds_alternative<Launching>(guest->state)) return;
  ++guest->bad_starts;
  guest->state = Off{step.now + backoff(guest->bad_starts)};
  guest->down_since = step.now;
  // Said once, not with every attempt.
  if (std::exchange(guest->launch_trouble, event.why) == event.why) return;
  step.note(Severity::error, "guest-launch-failed",
            step.state.name(guest->id) + " could not be launched: " + event.why +
                "; tried again at least once a minute",
            guest->id);
}

void handle(Step& step, const event::GuestPanicked& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || !(guest->believed_up() || guest->coming_up())) return;
  if (guest->coming_up()) ++guest->bad_starts;
  step.note(Severity::error, "guest-panicked",
            step.state.name(guest->id) + "'s kernel panicked" + with_console(event.console), guest->id);
  condemn(step, *guest, "kernel panic of " + step.state.name(guest->id), fault_began(*guest, step.now));
}

void handle(Step& step, const event::GuestExited& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || std::holds_alternative<Off>(guest->state) ||
      std::holds_alternative<Discarding>(guest->state)) {
    return;
  }
  if (auto* fenced = std::get_if<Fenced>(&guest->state)) {
    fenced->process_left = false;
    fenced->dump = Fenced::Dump::done;
    return;
  }
  if (guest->coming_up()) ++guest->bad_starts;
  if (!std::holds_alternative<Fencing>(guest->state)) {
    step.note(Severity::error, "guest-exited",
              "the virtual machine of " + step.state.name(guest->id) + " ended: " + event.how +
                  with_console(event.console),
              guest->id);
    condemn(step, *guest, "virtual machine of " + step.state.name(guest->id) + " ended (" + event.how + ")",
            fault_began(*guest, step.now));
    // Its end is the proof that a fence asks for.
    std::erase_if(step.out.fence, [&](const action::Fence& fence) { return fence.run == event.run; });
    return stopped(step, *guest, event.how, false);
  }
  stopped(step, *guest, event.how, false, event.console);
}

void handle(Step& step, const event::GuestFenced& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || !std::holds_alternative<Fencing>(guest->state)) return;
  stopped(step, *guest, event.how, true, event.console);
}

void handle(Step& step, const event::GuestGone& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || !std::holds_alternative<Discarding>(guest->state)) return;
  guest->state = Off{step.now + backoff(guest->bad_starts)};
  of_the_present_setup(*guest);
  guest->relaunched_at = step.now;
}

void handle(Step& step, const event::StopDelayed& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr) return;
  guest->stop_evidence = event.evidence;
  if (!std::holds_alternative<Launching>(guest->state)) return;  // said when it is time to
  step.note(Severity::error, "stop-delayed",
            step.state.name(guest->id) + " could not be launched, and its process does not end (" +
                after_evidence(*guest) + ")",
            guest->id);
}

void handle(Step& step, const event::DumpDone& event) {
  Guest* guest = step.state.living(event.run);
  auto* fenced = guest != nullptr ? std::get_if<Fenced>(&guest->state) : nullptr;
  if (fenced == nullptr || fenced->dump != Fenced::Dump::under_way) return;
  fenced->dump = Fenced::Dump::done;
  const std::string& name = step.state.name(guest->id);
  if (event.file.empty()) {
    step.note(Severity::warning, "no-dump", "the memory of " + name + " was not written: " + event.why_not,
              guest->id);
  } else {
    step.note(Severity::info, "dump", "the base memory of " + name + " was written to " + event.file,
              guest->id);
  }
}

void handle(Step& step, const event::ProbeAnswer& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr) return;
  auto* suspicion = std::get_if<Suspect>(&guest->state);
  if (suspicion == nullptr) return;
  const GuestSetup& setup = step.state.setup.guest(guest->id);
  suspicion->probing = false;
  if (event.kernel_answers) {
    if (!suspicion->kernel_answered) {
      step.note(Severity::warning, "agent-silent",
                setup.name + "'s kernel answers but its agent does not; it is left alone", guest->id);
    }
    suspicion->kernel_answered = true;
    suspicion->kernel_silent_since = step.now;
    suspicion->next_probe = step.now + setup.heartbeat_limit;
    return;
  }
  // A row of silence begins with its first failed probe, not with the last answer: one lost packet is no
  // hang.
  if (suspicion->kernel_answered) suspicion->kernel_silent_since = step.now;
  suspicion->kernel_answered = false;
  suspicion->next_probe = step.now;
  if (step.now - suspicion->kernel_silent_since < setup.hang_confirm) return;
  if (guest->maintenance_until && step.now < *guest->maintenance_until) {
    // Frozen, debugged, backed up: whoever asked for maintenance knows. Looked at again, at leisure.
    suspicion->next_probe = step.now + setup.heartbeat_limit;
    return;
  }
  step.note(Severity::error, "guest-hung", setup.name + " hangs: " + event.evidence, guest->id);
  condemn(step, *guest, "hang of " + setup.name, fault_began(*guest, suspicion->last_beat));
}

void handle(Step& step, const event::AgentGreeted& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr) return;
  if (!guest->coming_up()) {
    heard(step, *guest, event.memory);
    // Its former connection may have taken an answer with it, or the agent was started anew in its guest.
    if (guest->ready() != nullptr && guest->state_asked != step.now) ask_state(step, *guest);
    return;
  }
  guest->state = Ready{step.now, event.memory};
  guest->bad_starts = 0;
  guest->launch_trouble.clear();
  if (guest->adopted) {
    ask_state(step, *guest);
    step.note(Severity::info, "guest-ready", step.state.name(guest->id) + " answers, it has lived on",
              guest->id);
    return;
  }
  std::string text = step.state.name(guest->id) + " is ready, " + format_size(event.memory.available_bytes) +
                     " of its memory available";
  if (guest->relaunched_at) {
    text += "; back as a standby " +
            std::to_string(static_cast<long>(to_ms(step.now - *guest->relaunched_at))) + " ms after its end";
  }
  guest->relaunched_at.reset();
  step.note(Severity::info, "guest-ready", text, guest->id);
  for (const Application& app : step.state.apps) {
    const AppSetup& setup = step.state.setup.app(app.id);
    const bool listed = std::count(setup.guests.begin(), setup.guests.end(), guest->id) > 0;
    if (setup.hot_standby && listed) step.out.prepare.push_back({event.run, app.id});
  }
}

void handle(Step& step, const event::AgentBeat& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr) return;
  if (std::holds_alternative<Booting>(guest->state)) {
    // Its greeting came while a restarted daemon was still looking for its process.
    handle(step, event::AgentGreeted{event.run, event.memory});
  } else {
    heard(step, *guest, event.memory);
  }
}

void handle(Step& step, const event::AgentLost& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr) return;
  if (const auto* ready = guest->ready()) suspect(step, *guest, Ready(*ready));
}

void handle(Step& step, const event::AgentMisbehaved& event) {
  Guest* guest = step.state.living(event.run);
  if (guest == nullptr || !(guest->believed_up() || guest->coming_up())) return;
  step.note(Severity::error, "agent-misbehaved",
            step.state.name(guest->id) + "'s agent sent what no agent of ours sends: " + event.what,
            guest->id);
  std::erase_if(guest->misdeeds, [&](Time at) { return step.now - at > kMisdeedWindow; });
  guest->misdeeds.push_back(step.now);
  if (guest->misdeeds.size() < kMostMisdeeds) return;
  condemn(step, *guest, step.state.name(guest->id) + "'s agent cannot be trusted (" + event.what + ")",
          step.now);
}

void advance(Step& step, Guest& guest) {
  if (auto* off = std::get_if<Off>(&guest.state)) {
    if (guest.wanted && step.now >= off->not_before && !held_back(step, guest)) launch(step, guest);
  } else if (auto* booting = std::get_if<Booting>(&guest.state)) {
    const Time due = guest.adopted ? after_maintenance(guest, booting->deadline) : booting->deadline;
    if (step.now < due) return;
    ++guest.bad_starts;
    condemn(step, guest,
            step.state.name(guest.id) + " did not become ready within " +
                format_duration(step.state.setup.guest(guest.id).boot_limit),
            step.now);
  } else if (auto* ready = std::get_if<Ready>(&guest.state)) {
    if (guest.state_due && step.now >= after_maintenance(guest, *guest.state_due)) {
      return state_overdue(step, guest);
    }
    if (step.now - ready->last_beat >= step.state.setup.guest(guest.id).heartbeat_limit) {
      suspect(step, guest, Ready(*ready));
    }
  } else if (auto* suspicion = std::get_if<Suspect>(&guest.state)) {
    advance_suspect(step, guest, *suspicion);
  } else if (auto* fencing = std::get_if<Fencing>(&guest.state)) {
    say_delay(
        step, guest, *fencing, Severity::error,
        " is not verified stopped: what it holds stays where it is, and whoever needs it has waited for ");
  } else if (auto* discarding = std::get_if<Discarding>(&guest.state)) {
    say_delay(
        step, guest, *discarding, Severity::warning,
        " is stopped and its process killed, but that does not end, and it cannot come back as a standby; "
        "since then: ");
  } else if (auto* fenced = std::get_if<Fenced>(&guest.state)) {
    if (held_back(step, guest)) return;
    if (takeover_under_way(step.state) && !std::exchange(fenced->limit_said, true)) {
      step.note(Severity::warning, "limit-passed",
                step.state.name(guest.id) + " waits no longer for the takeover to end, which has taken " +
                    format_duration(kClearingDelayLimit) + "; it is cleared up and booted meanwhile",
                guest.id);
    }
    if (fenced->dump == Fenced::Dump::wanted && fenced->process_left) {
      fenced->dump = Fenced::Dump::under_way;
      step.out.dump.push_back({guest.current()});
    }
    // A guest that is going down does not wait for a file about its past.
    if (fenced->dump == Fenced::Dump::under_way && guest.wanted) return;
    // Also when the process has ended: its sockets and files are still there.
    guest.state = Discarding{step.now, step.now + kStopWorthSaying};
    step.out.discard.push_back({guest.current()});
  }
}

void postpone_silence(State& state, Duration by) {
  for (Guest& guest : state.guests) {
    if (guest.state_due) *guest.state_due += by;
    if (auto* booting = std::get_if<Booting>(&guest.state)) {
      booting->deadline += by;
    } else if (auto* ready = std::get_if<Ready>(&guest.state)) {
      ready->last_beat += by;
    } else if (auto* suspicion = std::get_if<Suspect>(&guest.state)) {
      suspicion->last_beat += by;
      suspicion->kernel_silent_since += by;
    }
    for (auto& [app, held] : guest.vcpus) held.due += by;
    for (auto& [app, left] : guest.leftovers) left.due += by;
  }
}

std::optional<Time> deadline(const State& state, const Guest& guest) {
  const GuestSetup& setup = state.setup.guest(guest.id);
  if (const auto* off = std::get_if<Off>(&guest.state)) {
    if (guest.wanted) return std::max(off->not_before, held_back_until(state, guest).value_or(Time{}));
  } else if (const auto* booting = std::get_if<Booting>(&guest.state)) {
    return guest.adopted ? after_maintenance(guest, booting->deadline) : booting->deadline;
  } else if (const auto* ready = std::get_if<Ready>(&guest.state)) {
    const Time beat_due = ready->last_beat + setup.heartbeat_limit;
    return guest.state_due ? std::min(beat_due, after_maintenance(guest, *guest.state_due)) : beat_due;
  } else if (const auto* suspicion = std::get_if<Suspect>(&guest.state)) {
    std::optional<Time> at;
    if (!suspicion->probing) at = suspicion->next_probe;
    if (setup.silent_agent_limit > Duration{}) {
      Time limit = suspicion->last_beat + setup.silent_agent_limit;
      if (guest.maintenance_until) limit = std::max(limit, *guest.maintenance_until);
      at = at ? std::min(*at, limit) : limit;
    }
    if (guest.state_due) {
      const Time due = after_maintenance(guest, *guest.state_due);
      at = at ? std::min(*at, due) : due;
    }
    return at;
  } else if (const auto* fencing = std::get_if<Fencing>(&guest.state)) {
    return fencing->say_at;
  } else if (const auto* discarding = std::get_if<Discarding>(&guest.state)) {
    return discarding->say_at;
  } else if (const auto* fenced = std::get_if<Fenced>(&guest.state)) {
    if (fenced->dump != Fenced::Dump::under_way) return held_back_until(state, guest);
  }
  return std::nullopt;
}

}  // namespace understudy::core

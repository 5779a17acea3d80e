// Is a guest alive? Silence makes it suspect, and only evidence that does not depend on its agent (pvpanic,
// the end of its process, a kernel that answers no packet) condemns it.
#include "core/limits.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

using namespace guest_state;

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

}  // namespace

Time fault_began(Guest& guest, Time fallback) {
  if (!guest.drill) return fallback;
  const Time at = guest.drill->at;
  guest.drill.reset();
  return at;
}

Time after_maintenance(const Guest& guest, Time due) {
  return guest.maintenance_until ? std::max(due, *guest.maintenance_until) : due;
}

void advance_ready(Step& step, Guest& guest, const Ready& ready) {
  if (guest.state_due && step.now >= after_maintenance(guest, *guest.state_due)) {
    state_overdue(step, guest);
  } else if (step.now - ready.last_beat >= step.state.setup.guest(guest.id).heartbeat_limit) {
    suspect(step, guest, Ready(ready));
  }
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

void handle(Step& step, const event::DrillStarted& event) {
  Guest& guest = step.state.guest(event.guest);
  guest.drill = Drill{event.kind, step.now};
  step.note(Severity::warning, "drill", "a fault is being caused on purpose in " + step.state.name(guest.id),
            guest.id);
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
  prepare(step, *guest);
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
            step.state.name(guest->id) + "'s agent violated the protocol: " + event.what, guest->id);
  std::erase_if(guest->misdeeds, [&](Time at) { return step.now - at > kMisdeedWindow; });
  guest->misdeeds.push_back(step.now);
  if (guest->misdeeds.size() < kMostMisdeeds) return;
  condemn(step, *guest, step.state.name(guest->id) + "'s agent cannot be trusted (" + event.what + ")",
          step.now);
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

std::optional<Time> silence_deadline(const State& state, const Guest& guest) {
  const GuestSetup& setup = state.setup.guest(guest.id);
  if (const auto* ready = guest.ready()) {
    const Time beat_due = ready->last_beat + setup.heartbeat_limit;
    return guest.state_due ? std::min(beat_due, after_maintenance(guest, *guest.state_due)) : beat_due;
  }
  const auto* suspicion = std::get_if<Suspect>(&guest.state);
  if (suspicion == nullptr) return std::nullopt;
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
}

}  // namespace understudy::core

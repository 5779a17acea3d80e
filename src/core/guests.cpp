// The life of a guest: launched, booted, fenced, cleared up, launched again. Whether it is alive while it
// should serve is found out in liveness.cpp.
#include "base/check.hpp"
#include "core/limits.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace understudy::core {

namespace {

using namespace guest_state;

// Clearing up after a failed guest and booting it again wait for the takeover that it caused, but not longer.
constexpr Duration kClearingDelayLimit = std::chrono::seconds(10);

// A process that was killed ends within milliseconds, one with much memory within seconds.
constexpr Duration kStopWorthSaying = std::chrono::seconds(5);
constexpr Duration kStopSaidAgain = std::chrono::seconds(60);

Duration backoff(std::uint32_t times) {
  if (times == 0) return Duration{};
  return std::min<Duration>(kLongestBackoff, kFirstBackoff * (1LL << std::min(times - 1, 10U)));
}

bool takeover_under_way(const State& state) {
  return std::any_of(state.apps.begin(), state.apps.end(),
                     [&state](const Application& app) { return !state.is_twin(app.id) && is_arriving(app); });
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
  guest.seen_otherwise = {};
  guest.unprepared = false;
  guest.misdeeds.clear();
  of_the_present_setup(guest);
  guest.stop_evidence.clear();
  guest.state = Launching{};
  step.out.launch.push_back({guest.current()});
  step.note(Severity::info, "guest-launching", step.state.name(guest.id) + " is being launched", guest.id);
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

void condemn(Step& step, Guest& guest, const std::string& why, Time since, std::optional<AppId> ended_for) {
  const bool has_process =
      guest.believed_up() || guest.coming_up() || std::holds_alternative<Adopting>(guest.state);
  if (!has_process) return;  // it is being fenced already, or there is nothing to fence
  const GuestRun run = guest.current();
  step.note(guest.wanted ? Severity::error : Severity::info, "guest-fencing",
            step.state.name(guest.id) + " is being fenced: " + why, guest.id);
  guest.state = Fencing{why, step.now, step.now + kStopWorthSaying};
  step.out.fence.push_back({run});
  const Tenants tenants = tenants_of(step.state, run);
  for (Application& app : step.state.apps) {
    if (app.place() != run) continue;
    if (app.serving() != nullptr) {
      step.out.withdraw.push_back({app.id});
      begin_move(step, app, why, guest.id, since, move_step::AwaitingFence{run});
    } else {
      if (step.state.is_twin(app.id)) rehearsal_fails(app, why);
      if (auto* moving = app.moving(); moving != nullptr && moving->move.in_vain_why.empty())
        moving->move.in_vain_why = why;
      enter_fencing(step, app, run);
    }
  }
  count_lost_guest(step, tenants, ended_for);
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
  step.note(
      Severity::error, "stop-delayed",
      step.state.name(guest->id) + "'s launch does not come to its end (" + after_evidence(*guest) + ")",
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
    advance_ready(step, guest, *ready);
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

std::optional<Time> deadline(const State& state, const Guest& guest) {
  if (const auto* off = std::get_if<Off>(&guest.state)) {
    if (guest.wanted) return std::max(off->not_before, held_back_until(state, guest).value_or(Time{}));
  } else if (const auto* booting = std::get_if<Booting>(&guest.state)) {
    return guest.adopted ? after_maintenance(guest, booting->deadline) : booting->deadline;
  } else if (guest.believed_up()) {
    return silence_deadline(state, guest);
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

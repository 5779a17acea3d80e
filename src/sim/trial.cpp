// Is "protected" true? What the user is told is compared with what really happens: the whole simulation is
// copied (the process forks: world, daemon, everything on its way), the fault is caused in the copy, and the
// copy runs on until every application that was called protected serves elsewhere, or a minute is over. None
// of the code that made the statement is asked.
#include "core/view.hpp"
#include "sim/describe.hpp"
#include "sim/simulation.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>

namespace understudy::sim {

namespace {

namespace event = core::event;

constexpr Duration kTrialLimit = std::chrono::minutes(1);
// Whoever serves then must not have been sent away by the next.
constexpr Duration kServesOn = std::chrono::seconds(2);

// Something besides the fault that is tried went wrong. That the system made it go wrong by itself (it plugs
// more than there are slots) is no excuse.
struct AnotherFault {
  core::GuestId failing;

  template <class E>
  bool operator()(const E&) const {
    return false;
  }
  bool operator()(const event::PlugFailed& e) const { return e.why != kNoFreeSlot; }
  bool operator()(const event::UnplugFailed& e) const { return e.run.guest != failing; }
  bool operator()(const event::ScrubFailed&) const { return true; }
  bool operator()(const event::EngageFailed& e) const { return e.run.guest != failing; }
  bool operator()(const event::AppStartFailed& e) const { return e.run.guest != failing; }
  bool operator()(const event::AppFaulted&) const { return true; }
  bool operator()(const event::AppWantsMemory&) const { return true; }
  bool operator()(const event::StopFailed& e) const { return e.run.guest != failing; }
  bool operator()(const event::AreasReleased& e) const { return !e.why_not_all.empty(); }
  bool operator()(const event::AgentMisbehaved&) const { return true; }
  bool operator()(const event::AgentLost& e) const { return e.run.guest != failing; }
  bool operator()(const event::GuestPanicked& e) const { return e.run.guest != failing; }
  bool operator()(const event::GuestExited& e) const { return e.run.guest != failing; }
};

// Everything that a copied process has to tell, read to its end.
std::string read_all(int fd) {
  std::string text;
  char part[4096];
  for (;;) {
    const ssize_t got = ::read(fd, part, sizeof part);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(part, static_cast<std::size_t>(got));
  }
}

std::vector<bool> who_is_up(const core::State& state) {
  std::vector<bool> up;
  for (const core::Guest& guest : state.guests) up.push_back(guest.believed_up());
  return up;
}

constexpr core::GuestId kNowhere{~0U};

constexpr std::string_view kTrue = "true";
constexpr std::string_view kUndecided = "undecided";

}  // namespace

// The daemon knows of everything that is wrong outside the guest that is to fail.
bool Simulation::nothing_hidden(core::GuestId failing) const {
  if (!daemon_ || world.now() < world.stalled_until || journal.refusing) return false;
  const core::State& state = daemon_->core.state();
  for (const Vm& vm : world.vms) {
    const core::Guest& guest = state.guest(vm.run.guest);
    if (guest.believed_up() && (guest.run != vm.run.run || !vm.agent_runs() || vm.linked != world.daemon))
      return false;
    if (vm.run.guest == failing && !guest.believed_up()) return false;
  }
  return std::all_of(state.apps.begin(), state.apps.end(), [this](const core::Application& app) {
    if (app.serving() == nullptr) return true;
    const AppInside& inside = world.vm(app.serving()->on.guest).apps[app.id.value];
    return inside.exists && inside.serving && !inside.wants_memory && !inside.ending;
  });
}

std::vector<Simulation::Claim> Simulation::claims(core::GuestId failing) const {
  std::vector<Claim> made;
  const core::State& state = daemon_->core.state();
  for (const core::Application& app : state.apps) {
    const auto* serving = app.serving();
    if (serving == nullptr || serving->on.guest != failing) continue;
    const core::Protection said = told(state, app);
    if (said.is_protected) made.push_back({app.id, said.standby.value_or(failing)});
  }
  return made;
}

bool Simulation::serves_elsewhere(core::AppId app, core::GuestId than) const {
  return std::any_of(world.vms.begin(), world.vms.end(), [&](const Vm& vm) {
    const AppInside& inside = vm.apps[app.value];
    const bool reached = !world.setup().app(app).has_address || world.routes[app.value] == vm.run;
    return vm.run.guest != than && vm.agent_runs() && inside.exists && inside.serving && reached;
  });
}

// In the copy. What it finds, for the process that it was copied from.
std::string Simulation::suffer(core::GuestId failing, FaultName fault, std::vector<Claim> made) {
  const bool under_way = std::any_of(daemon_->core.state().apps.begin(), daemon_->core.state().apps.end(),
                                     [](const core::Application& app) { return app.moving() != nullptr; });
  // One that comes up later lets a more important one in, which takes the memory; that is not foreseen.
  const bool coming_up = std::any_of(daemon_->core.state().guests.begin(), daemon_->core.state().guests.end(),
                                     [](const core::Guest& guest) { return guest.coming_up(); });
  const std::vector<bool> up = who_is_up(daemon_->core.state());
  nemesis.call_off();
  world.shape.odds = Odds{};
  world.shape.timing.slow = 0;
  world.die_at = 0;
  bool another = false;
  bool somebody_yields = false;
  bool another_guest = false;  // was there before all of them served
  bool seen = false;
  const auto all_serve = [&] {
    return std::all_of(made.begin(), made.end(),
                       [&](const Claim& claim) { return serves_elsewhere(claim.app, failing); });
  };
  // Whoever was on the way already may turn out to be too slow.
  const auto costs_another = [&] {
    const auto& guests = daemon_->core.state().guests;
    return under_way && std::any_of(guests.begin(), guests.end(), [&](const core::Guest& guest) {
             return guest.id != failing && (std::holds_alternative<core::guest_state::Fencing>(guest.state) ||
                                            std::holds_alternative<core::guest_state::Fenced>(guest.state));
           });
  };
  world.deliver = [&](const core::Event& event) {
    another = another || std::visit(AnotherFault{failing}, event);
    deliver(event);
    const core::State& state = daemon_->core.state();
    const auto* fenced = std::get_if<event::GuestFenced>(&event);
    const bool another_is = fenced != nullptr && fenced->run.guest != failing;
    another = another || costs_another() || (under_way && another_is);
    for (const core::Application& app : state.apps)
      somebody_yields = somebody_yields || (app.moving() != nullptr && app.moving()->move.yields);
    // Whoever waits for a guest that is there now takes what others were about to have: the failed one while
    // room is made, any other at any time.
    const auto* greeted = std::get_if<event::AgentGreeted>(&event);
    const bool back = greeted != nullptr && greeted->run.guest == failing && somebody_yields;
    const bool joins = greeted != nullptr && !up[greeted->run.guest.value];
    another_guest = another_guest || ((back || joins) && !all_serve());
    // What is taken back before anybody can see the fault is no promise any more.
    seen = seen || !state.guest(failing).believed_up();
    if (!seen)
      std::erase_if(made,
                    [&](const Claim& claim) { return !told(state, state.app(claim.app)).is_protected; });
  };
  if (!nemesis.cause(fault, failing, core::AppId{0})) return std::string(kUndecided);
  // One that serves may have to make room later, for another of higher priority whose guest has come back,
  // and goes wherever it can then.
  const auto none_lost = [&] {
    return std::all_of(made.begin(), made.end(), [&](const Claim& claim) {
      const auto* moving = daemon_->core.state().app(claim.app).moving();
      return serves_elsewhere(claim.app, kNowhere) || (moving != nullptr && moving->move.yields);
    });
  };
  const bool served = run_until(all_serve, kTrialLimit) && run_for(kServesOn) && none_lost();
  if (violation()) return violation()->what;
  if (made.empty()) return std::string(kUndecided);
  if (served) return std::string(kTrue);
  // Until a hang is seen, whoever is on the way goes on, into the hanging guest too; that is not foreseen.
  // And a rehearsal that is slow to end may keep the standby longer than the failed guest takes to come back.
  const bool seen_late = fault == FaultName::hang || fault == FaultName::vmm_stop;
  const bool all_serve_again = std::all_of(
      made.begin(), made.end(), [&](const Claim& claim) { return serves_elsewhere(claim.app, kNowhere); });
  // Whoever has to wait until another has made room may find the failed guest back before that.
  const bool may_come_back = under_way || somebody_yields;
  if (another || costs_another() || (under_way && seen_late) || (may_come_back && all_serve_again) ||
      (coming_up && somebody_yields) || another_guest)
    return std::string(kUndecided);
  return broken(made, failing, fault) + "the copy says" + beliefs();
}

std::string Simulation::broken(const std::vector<Claim>& made, core::GuestId failing, FaultName fault) const {
  std::string text;
  for (const Claim& claim : made) {
    if (serves_elsewhere(claim.app, failing)) continue;
    text += world.setup().app(claim.app).name + " is called protected by " +
            world.setup().guest(claim.standby).name + ", and after " + fault_name(fault) + " of " +
            world.setup().guest(failing).name + " it serves nowhere; ";
  }
  return text;
}

void Simulation::check_protection(core::GuestId failing, FaultName fault) {
  if (!nothing_hidden(failing)) return;
  const std::vector<Claim> made = claims(failing);
  if (made.empty()) return;
  int ends[2];
  if (::pipe(ends) != 0) return checkers.violated("no pipe for a trial");
  std::fflush(stdout);
  const pid_t copy = ::fork();
  if (copy == 0) {
    world.trace = trace_trials ? world.trace : std::function<void(const std::string&)>{};
    const std::string found = suffer(failing, fault, made);
    const ssize_t put = ::write(ends[1], found.data(), found.size());
    std::fflush(stdout);
    ::_exit(put == static_cast<ssize_t>(found.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  const std::string found = copy > 0 ? read_all(ends[0]) : "";
  ::close(ends[0]);
  int status = 0;
  if (copy < 0 || ::waitpid(copy, &status, 0) != copy || status != 0)
    return checkers.violated("the copy of a trial did not come to its end");
  if (found == kUndecided) {
    ++trials.undecided;
  } else if (found == kTrue) {
    trials.claims += made.size();
  } else {
    checkers.violated(found);
  }
}

void Simulation::check_protection_somewhere() {
  static constexpr FaultName kTried[] = {FaultName::panic, FaultName::vmm_kill, FaultName::hang,
                                         FaultName::vmm_stop};
  const core::GuestId failing{static_cast<std::uint32_t>(trial_random_.below(world.vms.size()))};
  check_protection(failing, kTried[trial_random_.below(std::size(kTried))]);
}

}  // namespace understudy::sim

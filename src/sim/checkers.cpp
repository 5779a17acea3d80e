#include "sim/checkers.hpp"

#include "core/state.hpp"
#include "sim/describe.hpp"
#include "sim/hypervisor.hpp"

namespace understudy::sim {

using core::AppDurable;
using core::AreaState;
using core::GuestDurable;

namespace {

// A guest that keeps a rehearsal in one of its last steps beyond the limits of that step is fenced: plugging
// 20 s, confirming 20 s, then letting go 5 s.
constexpr Duration kLongestWait = std::chrono::seconds(50);
// An agent waits up to 10 s for the end of what it has killed before it says anything.
constexpr Duration kLongestPretence = std::chrono::seconds(20);
// Two looks at each of five guests, one of them in vain.
constexpr Duration kLongestShown = std::chrono::seconds(30);

}  // namespace

Checkers::Checkers(World& world, const MemoryJournal& journal)
    : world_(world),
      journal_(journal),
      pretends_since_(world.setup().apps.size()),
      shown_since_(world.areas.size()) {
  world_.app_started = [this](core::AppId app, core::GuestRun run) { app_started(app, run); };
  world_.area_mapped = [this](core::AreaId area, core::GuestRun run) { area_mapped(area, run); };
}

void Checkers::violated(const std::string& what) {
  world_.say("VIOLATION: " + what);
  if (!violation_) violation_ = Violation{world_.now(), what};
}

std::string Checkers::name(core::GuestRun run) const {
  return sim::name(world_.setup(), run);
}

bool Checkers::journalled_up(core::GuestRun run) const {
  const core::GuestRecord& record = journal_.guest(run.guest);
  return record.run == run.run && record.state == GuestDurable::up;
}

void Checkers::launching(core::GuestRun run) {
  if (!journalled_up(run)) violated(name(run) + " is launched before the journal says so");
  if (world_.vm(run.guest).process) {
    violated(name(run) + " is launched while the process of its former run exists");
  }
}

void Checkers::plugging(core::GuestRun run, core::AreaId area) {
  const core::AreaRecord& record = journal_.area(area);
  if (record.state != AreaState::plugging || record.in != run) {
    violated(name(area) + " is plugged into " + name(run) + " before the journal says so");
  }
}

void Checkers::unplugging(core::GuestRun run, core::AreaId area) {
  const core::AreaRecord& record = journal_.area(area);
  if (record.state != AreaState::unplugging || record.in != run) {
    violated(name(area) + " is unplugged from " + name(run) + " before the journal says so");
  }
}

// Where it serves, and no more than it is entitled to.
void Checkers::plugging_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) {
  const core::AppRecord& record = journal_.app(app);
  // While the journal refuses, a move that has begun is not in it.
  if (!journal_.refusing && (record.state != AppDurable::serving || record.in != run)) {
    violated("vCPUs of " + name(app) + " are plugged into " + name(run) + ", where it does not serve");
  }
  if (count > world_.setup().app(app).vcpus) violated(name(app) + " gets more vCPUs than it may have");
}

void Checkers::scrubbing(core::AreaId area) {
  const core::AreaRecord& record = journal_.area(area);
  if (record.state != AreaState::scrubbing || !record.user) {
    violated(name(area) + " is zeroed before the journal says so");
    return;
  }
  const AreaTruth& truth = world_.area(area);
  if (truth.in && world_.may_execute(*truth.in)) {
    violated(name(area) + " is zeroed while " + name(*truth.in) + " uses it");
  }
  // Zeroed once already, or in part, an area may be asked for again after a failure or a restart of the
  // daemon.
  const core::AppRecord& user = journal_.app(*record.user);
  if (user.in && !truth.half_zeroed && !truth.contents.empty() &&
      truth.contents == world_.domain(user.in->guest)) {
    violated(name(area) + " is zeroed inside trust domain " + truth.contents);
  }
}

void Checkers::engaging(const core::action::AskEngage& request) {
  for (const auto& area : request.areas) {
    const AreaTruth& truth = world_.area(area.area);
    // What it has ejected a moment ago it is asked for once more.
    if (world_.may_execute(request.run) && truth.in != request.run && truth.let_go_by != request.run) {
      violated(name(request.run) + " is asked to confirm " + name(area.area) + ", which it has not");
    }
  }
}

void Checkers::releasing(const core::action::AskRelease& request) {
  for (const core::AreaId area : request.areas) {
    const core::AreaRecord& record = journal_.area(area);
    if (record.state != AreaState::releasing || record.in != request.run) {
      violated(name(request.run) + " is asked to let go of " + name(area) + " before the journal says so");
    }
  }
}

void Checkers::starting(const core::action::AskStart& request) {
  const core::AppRecord& record = journal_.app(request.app);
  if (record.state != AppDurable::moving || record.in != request.run || record.epoch != request.epoch) {
    violated(name(request.app) + " is started on " + name(request.run) + " before the journal says so");
  }
  if (!world_.may_execute(request.run)) return;
  for (const core::AreaId area : request.areas) {
    const AreaTruth& truth = world_.area(area);
    if ((truth.in != request.run || !truth.confirmed) && truth.let_go_by != request.run) {
      violated(name(request.app) + " is started on " + name(request.run) + ", which has not confirmed " +
               name(area));
    }
  }
  for (const core::AreaRecord& area : journal_.areas()) {
    // What the guest had kept of it before, and has let go of since, only waits to be taken out.
    const bool leaves = area.state == AreaState::unplugging;
    if (area.user == request.app && area.in == request.run && area.state != AreaState::engaged && !leaves) {
      violated(name(request.app) + " is started while " + name(area.area) + " is " +
               core::area_state_name(area.state));
    }
  }
}

void Checkers::growing(const core::action::AnswerGrowth& answer) {
  if (!world_.may_execute(answer.run)) return;
  for (const core::AreaId area : answer.areas) {
    const AreaTruth& truth = world_.area(area);
    if ((truth.in != answer.run || !truth.confirmed) && truth.let_go_by != answer.run) {
      violated(name(answer.app) + " is given " + name(area) + ", which " + name(answer.run) +
               " has not confirmed");
    }
    if (journal_.area(area).state != AreaState::engaged) {
      violated(name(answer.app) + " is given " + name(area) + " before the journal says so");
    }
  }
}

void Checkers::routing(core::AppId app, core::GuestRun run) {
  if (world_.setup().app(app).rehearses) violated("clients are led to " + name(app));
  const core::AppRecord& record = journal_.app(app);
  if (record.state != AppDurable::serving || record.in != run) {
    violated("the address of " + name(app) + " leads to " + name(run) + " before the journal says so");
  }
  if (world_.may_execute(run) && !world_.vm(run.guest).apps[app.value].exists) {
    // It may have failed a moment ago, and its agent's word be on its way; then nobody else has it either.
    const AppInside& inside = world_.vm(run.guest).apps[app.value];
    if (inside.epoch != record.epoch && inside.forgotten != record.epoch) {
      violated("the address of " + name(app) + " leads to " + name(run) + ", where it was not started");
    }
  }
}

void Checkers::discarding(core::GuestRun run) {
  const core::GuestRecord& record = journal_.guest(run.guest);
  if (record.run != run.run || record.state != GuestDurable::fenced) {
    violated(name(run) + " is removed before the journal says that it is fenced");
  }
  if (world_.may_execute(run)) violated(name(run) + " is removed while it may execute");
}

bool Checkers::of_the_host(const core::Event& event) {
  namespace event_ns = core::event;
  // By what happened (the simulated hypervisor's own words), not by what the event says of it.
  if (const auto* plug = std::get_if<event_ns::PlugFailed>(&event))
    return plug->why == kRefused || plug->why == kNoFreeSlot;
  if (const auto* unplug = std::get_if<event_ns::UnplugFailed>(&event)) return unplug->why == kRefused;
  return std::holds_alternative<event_ns::ScrubFailed>(event) ||
         std::holds_alternative<event_ns::LaunchFailed>(event) ||
         std::holds_alternative<event_ns::DumpDone>(event) ||
         std::holds_alternative<event_ns::VcpusPlugged>(event) ||
         std::holds_alternative<event_ns::VcpusUnplugged>(event);
}

// Somebody else serves in the guest, and the application leaves it by a plan that does not allow to end it;
// empty: that is not so.
std::string Checkers::spared_for(const core::State& state, core::AppId id, core::GuestRun run) const {
  const core::Application& app = state.app(id);
  const auto* releasing = app.in_step<core::move_step::Releasing>();
  const auto* stopping = app.in_step<core::move_step::Stopping>();
  const bool leaves =
      (releasing != nullptr && releasing->from == run) || (stopping != nullptr && stopping->from == run);
  if (!leaves || !app.wanted) return "";
  // Whoever waits for the place of a rehearsal needs it more than the rehearsal's neighbours need theirs.
  const bool in_the_way =
      state.is_twin(id) &&
      std::any_of(state.apps.begin(), state.apps.end(), [&](const core::Application& other) {
        return !state.is_twin(other.id) && other.in_step<core::move_step::Choosing>() != nullptr;
      });
  if (in_the_way) return "";
  if (!app.moving()->move.planned || app.moving()->move.may_fence) return "";
  const Vm& vm = world_.vm(run.guest);
  for (std::uint32_t i = 0; i < vm.apps.size(); ++i) {
    if (i == id.value || world_.setup().apps[i].rehearses || !vm.apps[i].serving) continue;
    const auto* serving = state.app(core::AppId{i}).serving();
    if (serving != nullptr && serving->on == run) return name(core::AppId{i});
  }
  return "";
}

void Checkers::telling(const core::Event& event, const core::State& state) {
  // What an agent says of its applications counts when it was asked.
  if (const auto* stated = std::get_if<core::event::AppsStated>(&event);
      stated != nullptr && state.guest(stated->run.guest).state_asked) {
    for (const core::event::AppStated& app : stated->apps) {
      if (app.restarting) is_down(app.app, stated->run, app.epoch, true);
    }
  }
  no_fence_.clear();
  if (of_the_host(event)) no_fence_ = "for what the host could not do";
  std::string spared;
  if (const auto* released = std::get_if<core::event::AreasReleased>(&event)) {
    if (!released->why_not_all.empty()) spared = spared_for(state, released->app, released->run);
  } else if (const auto* unplug = std::get_if<core::event::UnplugFailed>(&event)) {
    const auto& user = state.table.area(unplug->area).user;
    if (user) spared = spared_for(state, *user, unplug->run);
  } else if (const auto* stays = std::get_if<core::event::StopFailed>(&event)) {
    if (journal_.app(stays->app).epoch == stays->epoch) spared = spared_for(state, stays->app, stays->run);
  }
  if (!spared.empty()) no_fence_ = "for a planned move, and " + spared + " serves there";
}

void Checkers::fencing(core::GuestRun run) {
  if (!no_fence_.empty()) violated(name(run) + " is fenced " + no_fence_);
}

void Checkers::app_started(core::AppId app, core::GuestRun run) {
  for (const Vm& other : world_.vms) {
    if (other.run == run || !other.may_execute() || !other.apps[app.value].exists) continue;
    violated(name(app) + " is started on " + name(run) + " while it runs on " + name(other.run));
  }
  // Nothing is started beside a rehearsal: that has to be gone for certain.
  const std::vector<AppInside>& beside = world_.vm(run.guest).apps;
  for (std::uint32_t i = 0; i < beside.size(); ++i) {
    if (i == app.value || !beside[i].exists || !world_.setup().apps[i].rehearses) continue;
    violated(name(app) + " is started on " + name(run) + ", where " + name(core::AppId{i}) + " still runs");
  }
}

void Checkers::area_mapped(core::AreaId area, core::GuestRun run) {
  const AreaTruth& truth = world_.area(area);
  if (truth.in && world_.may_execute(*truth.in)) {
    violated(name(area) + " is plugged into " + name(run) + " while " + name(*truth.in) + " has it");
  }
  const std::string& domain = world_.domain(run.guest);
  if (!truth.contents.empty() && truth.contents != domain) {
    violated(name(area) + " goes to " + name(run) + " of trust domain " + domain + " with what " +
             truth.contents + " wrote");
  }
}

void Checkers::reported(const core::TakeoverReport& report) {
  if (report.bytes_copied != 0) violated("a takeover copied memory");
  for (const Duration phase : report.phases) {
    if (phase < Duration{})
      violated("a phase of a takeover of " + name(report.app) + " lasted less than nothing");
  }
}

void Checkers::check(const core::State& state) {
  check_stopped();
  check_areas(state);
  check_shown(state);
  check_vcpus(state);
  check_apps();
  check_budget();
  check_definitions(state);
  check_rehearsals(state);
  check_clients();
  check_serving(state);
}

void Checkers::is_down(core::AppId app, core::GuestRun run, core::Epoch epoch, bool down) {
  // What is late, or made up by a guest where it does not run, tells nothing.
  if (!serves(app, run, epoch)) return;
  if (down) {
    down_[app] = {run, epoch};
  } else {
    down_.erase(app);
  }
}

bool Checkers::serves(core::AppId app, core::GuestRun run, core::Epoch epoch) const {
  const core::AppRecord& record = journal_.app(app);
  return record.state == AppDurable::serving && record.in == run && record.epoch == epoch;
}

void Checkers::hears(const core::Event& event) {
  if (const auto* said = std::get_if<core::event::AppRestarting>(&event)) {
    is_down(said->app, said->run, said->epoch, true);
  } else if (const auto* wants = std::get_if<core::event::AppWantsMemory>(&event)) {
    is_down(wants->app, wants->run, wants->epoch, true);
  } else if (const auto* serves = std::get_if<core::event::AppServing>(&event)) {
    is_down(serves->app, serves->run, serves->epoch, false);
  }
}

void Checkers::daemon_died() {
  down_.clear();
}

// Clients wait, or are refused, while an application is restarted in place: led there they would be reset.
void Checkers::check_clients() {
  for (const auto& [app, down] : down_) {
    if (world_.routes[app.value] != down.run || !serves(app, down.run, down.epoch)) continue;
    violated("clients of " + name(app) + " are led to " + name(down.run) +
             " while it is being restarted there");
  }
}

// What is shown as serving serves. An agent that could say otherwise does so within its patience.
void Checkers::check_serving(const core::State& state) {
  for (const core::Application& app : state.apps) {
    std::optional<Time>& since = pretends_since_[app.id.value];
    const auto* serving = app.serving();
    const Vm* vm = serving != nullptr ? world_.living(serving->on) : nullptr;
    const bool shown = vm != nullptr && serving->trouble.empty() && !serving->unconfirmed;
    const bool could_say =
        shown && vm->agent_runs() && vm->linked == world_.daemon && world_.now() > world_.stalled_until;
    if (!could_say || vm->apps[app.id.value].serving) {
      since.reset();
    } else if (!since) {
      since = world_.now();
    } else if (world_.now() - *since > kLongestPretence) {
      violated(name(app.id) + " is shown as serving on " + name(vm->run) + " for " +
               format_duration(kLongestPretence) + ", and does not serve");
    }
  }
}

// A rehearsal goes no further once an application is on its way, and that one waits for its end alone, which
// is soon.
void Checkers::check_rehearsals(const core::State& state) {
  const core::Application* twin = core::rehearsal_under_way(state);
  if (twin == nullptr) {
    waiting_since_.reset();
    return;
  }
  const bool goes_on = twin->in_step<core::move_step::Sizing>() != nullptr ||
                       twin->in_step<core::move_step::Starting>() != nullptr;
  bool waits = false;
  for (const core::Application& app : state.apps) {
    if (world_.setup().app(app.id).rehearses || app.moving() == nullptr) continue;
    if (goes_on) violated(name(twin->id) + " goes on while " + name(app.id) + " is on its way");
    const auto* choosing = app.in_step<core::move_step::Choosing>();
    waits = waits || (choosing != nullptr && choosing->for_rehearsal);
  }
  // What is stopped for good ends with its guest, and the fence takes what it takes. A journal that refuses
  // holds up everything, and so does a daemon that is not let run.
  const bool excused = twin->in_step<core::move_step::AwaitingFence>() != nullptr ||
                       twin->in_step<core::move_step::Resuming>() != nullptr || journal_.refusing ||
                       !state.journal_trouble.empty() || world_.now() <= world_.stalled_until;
  if (!waits || excused) {
    waiting_since_.reset();
  } else if (!waiting_since_) {
    waiting_since_ = world_.now();
  } else if (world_.now() - *waiting_since_ > kLongestWait) {
    violated("an application waits " + format_duration(kLongestWait) + " for the end of " + name(twin->id));
  }
}

// Whatever really is in a guest that may execute stands in the table as being there.
void Checkers::check_areas(const core::State& state) {
  if (state.table.areas().size() != world_.areas.size()) violated("the table has lost areas");
  for (const core::Area& area : state.table.areas()) {
    const AreaTruth& truth = world_.area(area.id);
    if (!truth.in || area.in == truth.in || !world_.may_execute(*truth.in)) continue;
    violated(name(area.id) + " is in " + name(*truth.in) + ", which the table does not know");
  }
}

// What is shown as being in a guest is there. What a guest gave away is found out by a look, or by the
// second.
void Checkers::check_shown(const core::State& state) {
  for (const core::Area& area : state.table.areas()) {
    std::optional<Time>& since = shown_since_[area.id.value];
    const bool shown = area.in && (area.state == AreaState::plugged || area.state == AreaState::engaged);
    const Vm* vm = shown ? world_.living(*area.in) : nullptr;
    const bool could_be_known = vm != nullptr && vm->vmm_runs() && !vm->fenced &&
                                vm->linked == world_.daemon && world_.now() > world_.stalled_until &&
                                !journal_.refusing;
    if (!could_be_known || world_.area(area.id).usable_in(vm->run)) {
      since.reset();
    } else if (!since) {
      since = world_.now();
    } else if (world_.now() - *since > kLongestShown) {
      violated(name(area.id) + " is shown in " + name(vm->run) + " for " + format_duration(kLongestShown) +
               ", and is not there");
    }
  }
}

// "Stopped" is no oracle: what was said to be stopped is looked at for as long as its process exists.
void Checkers::check_stopped() {
  for (const Vm& vm : world_.vms) {
    if (vm.fenced && vm.executes()) violated(name(vm.run) + " executes although it was said to be stopped");
  }
}

// The same of vCPUs, in guests that the daemon knows: listed, or on their way in or out.
void Checkers::check_vcpus(const core::State& state) {
  for (const Vm& vm : world_.vms) {
    const core::Guest& guest = state.guest(vm.run.guest);
    if (!vm.may_execute() || guest.current() != vm.run || !guest.believed_up() || guest.unsettled) continue;
    for (std::uint32_t i = 0; i < vm.vcpus.size(); ++i) {
      if (vm.vcpus[i] == 0 || guest.vcpus.count(core::AppId{i}) != 0) continue;
      violated("vCPUs of " + name(core::AppId{i}) + " are in " + name(vm.run) +
               ", which the table does not know");
    }
  }
}

void Checkers::check_apps() {
  for (std::uint32_t i = 0; i < world_.routes.size(); ++i) {
    const core::AppId app{i};
    const Vm* holder = nullptr;
    for (const Vm& vm : world_.vms) {
      if (!vm.apps[i].exists || !vm.may_execute()) continue;
      if (holder != nullptr)
        violated(name(app) + " runs on " + name(holder->run) + " and on " + name(vm.run));
      holder = &vm;
    }
    const auto& route = world_.routes[i];
    if (route && holder != nullptr && holder->run != *route) {
      violated("clients of " + name(app) + " reach " + name(*route) + " while it runs on " +
               name(holder->run));
    }
  }
}

// What a guest was started with is true of it, and no daemon believes the file instead.
void Checkers::check_definitions(const core::State& state) {
  for (const Vm& vm : world_.vms) {
    const core::Guest& guest = state.guest(vm.run.guest);
    if (!vm.may_execute() || guest.current() != vm.run || !guest.believed_up()) continue;
    if (state.definition(guest.id) != vm.definition)
      violated(name(vm.run) + " is taken for what it was not started with");
  }
}

void Checkers::check_budget() {
  const core::PoolSetup& pool = world_.setup().pool;
  Bytes bytes = pool.area_count * pool.area_bytes;
  for (const Vm& vm : world_.vms) {
    if (!vm.process) continue;
    bytes += vm.definition.base_bytes + world_.setup().guest(vm.run.guest).overhead_bytes;
  }
  if (bytes > pool.budget_bytes) {
    violated("guests and areas use " + format_size(bytes) + " of " + format_size(pool.budget_bytes));
  }
}

}  // namespace understudy::sim

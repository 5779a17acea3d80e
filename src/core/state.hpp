#pragma once

#include "base/memory_rules.hpp"
#include "core/application.hpp"
#include "core/forecast.hpp"
#include "core/guest.hpp"
#include "core/outputs.hpp"
#include "core/setup.hpp"
#include "core/table.hpp"

#include <vector>

// Inside the core only: the whole state, and one step over it. The handlers are grouped by what they decide:
// guests.cpp (is a guest alive), moves.cpp (the way of an application), apps.cpp (faults of applications).
namespace understudy::core {

struct State {
  Setup setup;
  Table table;
  std::vector<Guest> guests;
  std::vector<Application> apps;
  Time now{};                       // of the latest step
  Measured clearing;                // from the failure of a guest until it was verified stopped
  std::string journal_trouble;      // why no move may begin; empty: none
  std::uint32_t rehearsals = 0;     // since the daemon started
  std::uint32_t proof_changes = 0;  // how often a proof was made or became void
  Time looked_at_protection{};      // when every forecast was last due to be made anew
  mutable std::vector<std::optional<Forecast>> forecasts;  // per guest, until anything changes (forecast.cpp)

  explicit State(Setup s);
  [[nodiscard]] Guest& guest(GuestId id) { return guests.at(id.value); }
  [[nodiscard]] const Guest& guest(GuestId id) const { return guests.at(id.value); }
  [[nodiscard]] Application& app(AppId id) { return apps.at(id.value); }
  [[nodiscard]] const Application& app(AppId id) const { return apps.at(id.value); }
  [[nodiscard]] const std::string& name(GuestId id) const { return setup.guest(id).name; }
  [[nodiscard]] const std::string& name(AppId id) const { return setup.app(id).name; }
  // What the guest's present run was started with; what its next one will be, while there is none.
  [[nodiscard]] const Definition& definition(GuestId id) const;
  // Clients of the application reach it in this guest: it has an address, and the guest's run a port for it.
  [[nodiscard]] bool has_port_for(AppId app, GuestId in) const;
  // Not the operator's, but the stand-in of one for rehearsals.
  [[nodiscard]] bool is_twin(AppId id) const { return setup.app(id).rehearses.has_value(); }
  // The guest if `run` is its present life; late words of a former life find nothing.
  [[nodiscard]] Guest* living(GuestRun run);
  void forget_forecasts();
  // Applications with the higher priority first, then in the file's order.
  [[nodiscard]] std::vector<AppId> by_priority() const;
};

// Beyond the limits that the agent itself was given: its answer may be on its way.
inline constexpr Duration kAnswerGrace = std::chrono::seconds(2);

struct Step {
  State& state;
  Time now;
  Outputs& out;

  void note(Severity severity, std::string kind, std::string text, std::optional<GuestId> guest,
            std::optional<AppId> app = std::nullopt) {
    out.notices.push_back({severity, std::move(kind), std::move(text), guest, app});
  }
};

// core.cpp
void advance_applications(Step&);  // what rehearsals and applications do now, after any event

// guests.cpp
void handle(Step&, const event::GuestLaunched&);
void handle(Step&, const event::LaunchFailed&);
void handle(Step&, const event::GuestPanicked&);
void handle(Step&, const event::GuestExited&);
void handle(Step&, const event::GuestFenced&);
void handle(Step&, const event::GuestGone&);
void handle(Step&, const event::StopDelayed&);
void handle(Step&, const event::DumpDone&);
// Starts to stop a guest whose OS has failed or cannot be trusted with memory any more. `since` is when the
// fault began, as far as known: the start of the detect phase. `ended_for` is whose doing it is that the
// guest has to be ended; none: it may be anybody's in it.
void condemn(Step&, Guest&, const std::string& why, Time since, std::optional<AppId> ended_for = {});
void advance(Step&, Guest&);  // deadlines, suspicion, clearing up, coming back
[[nodiscard]] std::optional<Time> deadline(const State&, const Guest&);

// liveness.cpp
void handle(Step&, const event::DrillStarted&);
void handle(Step&, const event::ProbeAnswer&);
void handle(Step&, const event::AgentGreeted&);
void handle(Step&, const event::AgentBeat&);
void handle(Step&, const event::AgentLost&);
void handle(Step&, const event::AgentMisbehaved&);
// The time at which the fault began: a drill knows, otherwise it is `fallback`. Ends the drill.
[[nodiscard]] Time fault_began(Guest&, Time fallback);
// The deadline of something that only whoever works on the guest in maintenance may be holding up.
[[nodiscard]] Time after_maintenance(const Guest&, Time due);
// Which applications run in it? Answered by AppsStated.
void ask_state(Step&, Guest&);
// A former daemon's guest is there: from here on it is judged as any that is not heard of.
void adopted(Step&, Guest&, bool executing);
void advance_ready(Step&, Guest&, const guest_state::Ready&);
void advance_suspect(Step&, Guest&, guest_state::Suspect&);
[[nodiscard]] std::optional<Time> silence_deadline(const State&, const Guest&);
void postpone_silence(State&, Duration by);  // as if all that guests were not heard of had begun later

// resume.cpp
void handle(Step&, const event::Resume&);
void handle(Step&, const event::GuestAdopted&);
void handle(Step&, const event::AppsStated&);

// plugging.cpp
void handle(Step&, const event::AreaPlugged&);
void handle(Step&, const event::PlugFailed&);
void handle(Step&, const event::AreaScrubbed&);
void handle(Step&, const event::ScrubFailed&);
void begin_plugging(Step&, Application&, GuestRun to, const std::vector<AreaId>& granted);
void advance_plugging(Step&, Application&);
[[nodiscard]] Time plugging_due(const move_step::Plugging&);
// The host could not do its part: nobody is fenced for it, other guests are tried, and this one again later.
void give_up_placement(Step&, Application&, GuestRun to, const std::string& why);

// moves.cpp
void handle(Step&, const event::NeedStated&);
void handle(Step&, const event::AreasEngaged&);
void handle(Step&, const event::EngageFailed&);
void handle(Step&, const event::AppServing&);
void handle(Step&, const event::AppStartFailed&);
void handle(Step&, const event::AddressRouted&);
void handle(Step&, const event::AddressUnreachable&);
// Begins the way of an application; the caller sets the first step.
Move& begin_move(Step&, Application&, const std::string& cause, std::optional<GuestId> from, Time since,
                 MoveStep first);
void enter_choosing(Step&, Application&);
void stopped_by_order(Step&, Application&);        // nothing of it runs
void place(Step&, Application&, const Guest& to);  // the choice is made
// Nothing came of the guest that was chosen. It is tried there again, ever more rarely.
Application::Avoid& avoid(Step&, Application&, GuestId, const std::string& why);
// It may be tried there again later, and half of it may still be there; the caller has it removed.
void start_failed(Step&, Application&, GuestRun in, const std::string& why, const std::string& output);
void advance_choosing(Step&, Application&, move_step::Choosing&);
void enter_sizing(Step&, Application&, GuestRun to);
void enter_engaging(Step&, Application&, GuestRun to);  // the caller asks for it
void enter_starting(Step&, Application&, GuestRun to, Bytes limit_bytes);

// deadlines.cpp
inline constexpr Duration kSizingLimit = std::chrono::seconds(5);
inline constexpr Duration kEngagingLimit = std::chrono::seconds(20);
void advance(Step&, Application&);  // choosing, deadlines
// A living guest has let a limit pass: it is given up. "beta did not WHAT within 20.0 s".
void condemn_slow(Step&, GuestRun, const std::string& what, Duration limit,
                  std::optional<AppId> ended_for = {});
void postpone_deadlines(State&, Duration by);  // of what applications wait for
[[nodiscard]] std::optional<Time> deadline(const State&, const Application&);

// leaving.cpp
void handle(Step&, const event::AppStopped&);
void handle(Step&, const event::AreasReleased&);
void handle(Step&, const event::AreaUnplugged&);
void handle(Step&, const event::UnplugFailed&);
void enter_stopping(Step&, Application&, GuestRun from);
// `engaging`: the guest was asked to confirm areas of it, and has not answered yet.
void enter_releasing(Step&, Application&, GuestRun from, bool engaging = false);
// Nothing is on its way in any more that a release would have to wait for, perhaps.
void go_on_releasing(Step&, Application&);
void advance_releasing(Step&, Application&);
[[nodiscard]] Time releasing_due(const move_step::Releasing&);
// The guest is (or is about to be) fenced: everything that the application had to do there is over.
void enter_fencing(Step&, Application&, GuestRun from);
void guest_stopped(Step&, Application&, GuestRun run);
// Names of the others that would lose their guest; empty: nobody would.
[[nodiscard]] std::string others_there(const State&, const Application&, GuestRun run);
// An application that is being ended does not end: `why`. Its guest is ended for it, unless it leaves by plan
// and others are there.
void does_not_end(Step&, Application&, const std::string& why);
void release_finished(Step&, Application&);

// apps.cpp
// Begins its way from nowhere: a first start, or one that was asked for.
void start(Step&, Application&, const std::string& cause);
void handle(Step&, const event::BringUp&);
void handle(Step&, const event::BringDown&);
void handle(Step&, const event::StartApp&);
void handle(Step&, const event::StopApp&);
void handle(Step&, const event::Switchover&);
void handle(Step&, const event::Maintenance&);
void handle(Step&, const event::AppRestarting&);
void handle(Step&, const event::AppFaulted&);
void handle(Step&, const event::StopFailed&);
// Why an order to move it is refused; empty: it is not. `may_fence` as in the order.
[[nodiscard]] std::string why_no_switchover(const State&, const Application&, bool may_fence);
// The agent of its guest, asked what runs, does not know an application that should serve there.
void agent_forgot(Step&, Application&);
// Something is wrong with an application that serves, and its guest handles it: no client is led to it until
// it says that it serves again, for which it has so long, the delay before its next start included.
void enter_trouble(Step&, Application&, std::string trouble, Duration delay);
void restart_overdue(Step&, Application&);
// Its guest could not take in the memory that it asked for, and others are there: it leaves alone.
void leave_for_memory(Step&, Application&, const std::string& cause);
inline void handle(Step&, const event::Tick&) {}

// growth.cpp
inline constexpr Duration kGrowthLimit = std::chrono::seconds(20);  // until its guest has confirmed it
void handle(Step&, const event::AppWantsMemory&);
// What it asked for while a rehearsal was under way.
void grow_after_rehearsal(Step&, Application&);
void growth_plugged(Step&, Application&);  // one more of its areas is in
void growth_lost(Step&, Application&);     // its guest has let go of one that it had not confirmed yet
void growth_plug_failed(Step&, Application&, AreaId, const std::string& why);  // the host could not do it
[[nodiscard]] bool growth_being_confirmed(const State&, const Application&);
void growth_engaged(Step&, Application&, const event::AreasEngaged&);

// leftovers.cpp
void advance_leftovers(Step&, Guest&);
// A former daemon's guest may have been asked for some a moment ago.
void found_leftovers(Step&, Guest&);
[[nodiscard]] std::optional<Time> leftovers_deadline(const Guest&);
// The answer was to such a request, and not to one of a move.
void leftover_released(Step&, const event::AreasReleased&);
[[nodiscard]] bool is_being_let_go_of(const Guest&, AppId);

// seen.cpp
void handle(Step&, const event::GuestSeen&);
// One of its areas, which `was` in this state, has left the run by the guest's own doing, or is not there.
// What comes of it, in words that follow a semicolon; empty: nothing.
[[nodiscard]] std::string do_without(Step&, Application&, GuestRun run, AreaState was);

// vcpus.cpp
void handle(Step&, const event::VcpusPlugged&);
void handle(Step&, const event::VcpusUnplugged&);
// What a former daemon's guest has.
void found_vcpus(Step&, Guest&, const std::vector<event::PluggedVcpus>&);
// It has so many of the application's, which the table did not know.
void vcpus_differ(Step&, Guest&, AppId, std::uint32_t has);
void advance_vcpus(Step&, Guest&);  // plugs where an application serves, unplugs where it is no more
[[nodiscard]] std::optional<Time> vcpus_deadline(const State&, const Guest&);

// policy.cpp
// Why an application must not be moved now although it could: maintenance, its own or that of the guest where
// it is or was. Empty: it may. What the operator orders by name is not held up.
[[nodiscard]] std::string hands_off(const State&, const Application&);
// The same of a guest that something would be placed on: why not; empty: it is not in maintenance.
[[nodiscard]] std::string hands_off(const State&, const Guest&);
// Why the application cannot be stopped by order now; empty: it can.
[[nodiscard]] std::string why_not_stop(const State&, const Application&);
// Asks an application of lower priority to give its areas up, when that lets this one reach its minimum.
void preempt(Step&, Application&);
// It is on its way into a guest, which was chosen.
[[nodiscard]] bool is_arriving(const Application&);
// Ends the maintenance whose time has come, and says so.
void end_maintenance(Step&);
// When the next maintenance ends.
[[nodiscard]] std::optional<Time> maintenance_end(const State&);

// flapping.cpp
// Who was in a run that fails, each application once.
struct Tenants {
  std::vector<AppId> all;       // also those that were leaving, and those that were rehearsed there
  std::vector<AppId> served;    // of these
  std::vector<AppId> arriving;  // of these, by no plan
};
[[nodiscard]] Tenants tenants_of(const State&, GuestRun);  // before anything is done about them
// Counts the unplanned move of an application that has just begun. When there were too many lately, it is
// given up once it has left (true): something is wrong that moving does not mend.
bool count_own_takeover(Step&, Application&);
// The same for all whom the end of their guest puts on their way, by whose fault it may be.
void count_lost_guest(Step&, const Tenants&, std::optional<AppId> ended_for);
// It may have been its fault that guests failed: it is not placed yet.
[[nodiscard]] bool is_held_back(const State&, const Application&);
[[nodiscard]] std::string why_held_back(const State&, const Application&);  // empty: it is not

// rehearsal.cpp
void handle(Step&, const event::Rehearse&);
void handle(Step&, const event::Proven&);
// Before the applications: ends a rehearsal that stands in somebody's way, and proofs whose time is up.
void advance_rehearsals(Step&);
[[nodiscard]] std::optional<Time> rehearsals_deadline(const State&);
// The twin that is on its way in or out; none: no rehearsal is under way.
[[nodiscard]] const Application* rehearsal_under_way(const State&);
// Why the application cannot be rehearsed now, and what to do about it; empty: it can be.
[[nodiscard]] std::string why_no_rehearsal(const State&, const Application&, bool start);
// Unused areas that a rehearsal may have in this guest: none that would have to be zeroed first.
[[nodiscard]] std::vector<AreaId> areas_for_rehearsal(const State&, GuestId);
// What the application of this twin has to have, for what is being rehearsed.
[[nodiscard]] Bytes minimum_bytes(const State&, const Application&);
// Whether an application that could be placed in this guest has to wait for a rehearsal to end first.
[[nodiscard]] bool must_wait_for_rehearsal(const State&, const Application&, const Guest&);
// What a rehearsal has in the guest where the application is being placed becomes the application's.
void take_areas_of_rehearsal(Step&, Application&, const Guest& to);
// Steps of a twin, where it does not go on as an application would.
void place_rehearsal(Step&, Application&);
void rehearsal_engaged(Step&, Application&, GuestRun in, Bytes limit_bytes);
void rehearsal_healthy(Step&, Application&, GuestRun in);
void rehearsal_stopped(Step&, Application&, GuestRun in);
void rehearsal_fails(Application&, const std::string& why);  // the first reason is the one
void rehearsal_over(Step&, Application&);                    // nothing of it is left anywhere
void advance_yielding(Step&, Application&);
// The guest boots something else than what was proven.
void image_booted(Step&, Guest&, const std::string& image);

// preparing.cpp
void prepare(Step&, Guest&);
void prepare_again(Step&);  // whoever has to, when nobody is on his way

// protection.cpp
// After a step: says of whom it changed. `changed`: the step did more than to hear a heartbeat.
void tell_protection(Step&, bool changed);

// candidates.cpp
// What keeps this guest from taking the application over now; empty: nothing.
[[nodiscard]] std::string why_not(const State&, const Application&, const Guest&);
// The same where nobody ordered it to go to this guest: maintenance keeps it from there, too.
[[nodiscard]] std::string why_no_takeover(const State&, const Application&, const Guest&);
// Why a move that is under way keeps off this guest: its maintenance, unless the application was ordered
// there by name, or is only being started.
[[nodiscard]] std::string keeps_off(const State&, const Application&, const Guest&);
// The first guest in its list, other than where it is, that could take it over now; none: why not.
[[nodiscard]] std::optional<GuestId> ready_standby(const State&, const Application&, std::string& why_not);
// Another application whose need is being computed, and whose share has to be known before this one is placed
// here: they would count on the same slots or areas.
[[nodiscard]] const Application* sized_before(const State&, const Application&, const Guest&);
// Slots of the guest that are taken or promised to areas on their way there.
[[nodiscard]] std::uint32_t slots_taken(const State&, GuestRun);
// The same if `victim` gave up what it has on `from`.
struct Gain {
  AppId victim;
  GuestRun from;
};
// What a rehearsal has is given up for any application: counted as had, but for a placing that does not wait.
enum class OfRehearsals { counts, only_yielded };
[[nodiscard]] std::string why_not_after(const State&, const Application&, const Guest&, const Gain*,
                                        OfRehearsals = OfRehearsals::counts);
// The areas that could be given to the application now: its own first, then unused ones.
[[nodiscard]] std::vector<AreaId> areas_for(const State&, const Application&);
// What a guest that is ready has available of its base memory: what it has beside it is in areas, which are
// others'.
[[nodiscard]] Bytes spare_bytes(const State&, const Guest&);
// The same as its guest sees it, which knows nothing of who is on his way.
[[nodiscard]] Bytes base_available_bytes(const State&, const Guest&);
// What an application lacks in a guest, where that was computed without those who are on their way there.
[[nodiscard]] Bytes really_missing_bytes(const State&, const Application&, GuestRun run, Bytes missing_bytes);

}  // namespace understudy::core

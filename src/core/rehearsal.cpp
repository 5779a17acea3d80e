// A rehearsal proves that a takeover would work, without one. A twin of the application goes the way that the
// application would go (the same choice, the same steps in moves.cpp, the same limits), with areas that
// nobody uses, to the same standby; there it is confirmed, perhaps started in isolation, and taken back. It
// must never be in anybody's way: as soon as any application is on its way, or asks for memory, it goes no
// further. What it has confirmed in the guest where that application is then placed is handed over as it is;
// all that the application waits for is the end of the twin's processes.
#include "core/view.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <climits>

namespace understudy::core {

namespace {

using namespace move_step;

// Nothing of value runs there, so it is killed at once: what takes longer is a guest that is not well.
constexpr Duration kTwinStopLimit = std::chrono::seconds(3);
// An application that is on its way may not come after all.
constexpr Duration kYieldLimit = std::chrono::seconds(10);

AppSetup twin_setup(const Setup& setup, AppId real) {
  AppSetup twin = setup.app(real);
  twin.name += " (rehearsal)";  // no configured name has a blank in it
  twin.rehearses = real;
  twin.hot_standby = false;
  twin.minimum_bytes = 0;  // minimum_bytes() knows better
  twin.maximum_bytes = twin.desired_bytes;
  twin.priority = INT_MIN;
  twin.vcpus = 0;
  twin.stop_limit = kTwinStopLimit;
  twin.on_release_limit = OnReleaseLimit::fence;
  twin.preempts = false;
  twin.flap_takeovers = 0;
  twin.has_address = false;
  return twin;
}

// It serves nobody's restart, growth or move at this moment.
std::string not_settled(const Application& app) {
  const auto* serving = app.serving();
  if (serving == nullptr) return app_trouble(app);
  if (serving->unconfirmed) return "whether it still runs is being asked since the daemon's restart";
  if (!serving->trouble.empty()) return serving->trouble;
  if (serving->growing || serving->wants) return "it is being given more memory";
  if (serving->unrouted) return "its address does not lead to it yet";
  return "";
}

// Somebody whom a rehearsal would keep from something; empty: nobody.
std::string whoever_needs_room(const State& state) {
  const bool going_down =
      std::none_of(state.guests.begin(), state.guests.end(), [](const Guest& guest) { return guest.wanted; });
  if (going_down) return "everything goes down";
  for (const Application& app : state.apps) {
    if (state.is_twin(app.id)) continue;
    if (app.moving() != nullptr) return state.name(app.id) + " is on its way";
    if (app.serving() != nullptr && app.serving()->wants) return state.name(app.id) + " asks for more memory";
  }
  return "";
}

// Why a rehearsal that is under way is to go no further; empty: nothing speaks against it.
std::string why_end(const State& state, const Application& twin) {
  std::string why = whoever_needs_room(state);
  if (!why.empty()) return why;
  const Application& app = state.app(*state.setup.app(twin.id).rehearses);
  if (const auto* serving = app.serving(); serving == nullptr || serving->on.guest == twin.rehearsal->on)
    return state.name(app.id) + " does not serve as it did";
  why = hands_off(state, app);
  return why.empty() ? hands_off(state, state.guest(twin.rehearsal->on)) : why;
}

Application* twin_under_way(State& state) {
  const Application* twin = rehearsal_under_way(state);
  return twin != nullptr ? &state.app(twin->id) : nullptr;
}

// It goes no further. What is on its way into the guest cannot be let go of before it is in and confirmed.
void end_rehearsal(Step& step, Application& twin, const std::string& why) {
  twin.rehearsal->ending = true;
  if (!twin.rehearsal->proven) rehearsal_fails(twin, "it was ended: " + why);
  if (twin.in_step<Sizing>() != nullptr) {
    rehearsal_over(step, twin);
  } else if (const auto* starting = twin.in_step<Starting>()) {
    enter_stopping(step, twin, GuestRun(starting->to));
  }
}

// Somebody is on the way to the point where a guest is chosen (or just there), and could choose this one.
bool awaited(const State& state, GuestId guest, bool or_chooses) {
  if (!state.journal_trouble.empty()) return false;
  return std::any_of(state.apps.begin(), state.apps.end(), [&](const Application& app) {
    if (state.is_twin(app.id) || app.moving() == nullptr) return false;
    const AppSetup& setup = state.setup.app(app.id);
    const auto end = setup.hot_standby ? setup.guests.end() : setup.guests.begin() + 1;
    if (std::find(setup.guests.begin(), end, guest) == end) return false;
    return app.in_step<AwaitingFence>() != nullptr || app.in_step<Releasing>() != nullptr ||
           app.in_step<Stopping>() != nullptr || (or_chooses && app.in_step<Choosing>() != nullptr);
  });
}

// Only what the guest has confirmed can be handed over: after a restart of the daemon that is not certain.
bool confirmed(const State& state, const Application& twin, GuestRun in) {
  const std::vector<AreaId> areas = state.table.in_use_by(twin.id, in);
  return std::all_of(areas.begin(), areas.end(),
                     [&](AreaId id) { return state.table.area(id).state == AreaState::engaged; });
}

void leave_or_yield(Step& step, Application& twin, GuestRun in) {
  if (twin.rehearsal->ending && confirmed(step.state, twin, in) && awaited(step.state, in.guest, true)) {
    twin.moving()->move.step = Yielding{in, step.now + kYieldLimit};
  } else {
    enter_releasing(step, twin, in);
  }
}

std::size_t areas_of(const State& state, const Application& app) {
  const auto place = app.place();
  return place ? state.table.in_use_by(app.id, *place).size() : 0;
}

Duration phase_of(const Rehearsal& rehearsal, Phase phase) {
  return rehearsal.phases[static_cast<std::size_t>(phase)];
}

Bytes attached_bytes(const State& state, const Application& twin, GuestRun in) {
  return state.table.in_use_by(twin.id, in).size() * state.setup.pool.area_bytes;
}

// How long the same would have taken with all the memory that the application has.
Duration with_all_its_memory(const State& state, const Application& app, const Rehearsal& passed) {
  const Duration memory = phase_of(passed, Phase::attach) + phase_of(passed, Phase::online);
  const Bytes has = areas_of(state, app) * state.setup.pool.area_bytes;
  const double more = passed.bytes > 0 ? static_cast<double>(has) / static_cast<double>(passed.bytes) : 1;
  return std::chrono::duration_cast<Duration>(memory * std::max(1.0, more)) + phase_of(passed, Phase::start);
}

void stamp(State& state, Application& app, const Rehearsal& passed) {
  if (passed.start) app.rehearsed = with_all_its_memory(state, app, passed);
  // That it could be started is more than that its memory could be attached.
  const bool better_one = app.proof && app.proof->void_why.empty() && app.proof->start && !passed.start &&
                          app.proof->on == passed.on;
  if (better_one) return;
  app.proof = Proof{.at = passed.ended,
                    .start = passed.start,
                    .on = passed.on,
                    .took = phase_of(passed, Phase::attach) + phase_of(passed, Phase::online) +
                            phase_of(passed, Phase::start),
                    .bytes = passed.bytes,
                    .image = state.guest(passed.on).image,
                    .void_why = {}};
  ++state.proof_changes;
}

void make_void(Step& step, Application& app, const std::string& why) {
  app.proof->void_why = why;
  ++step.state.proof_changes;
  step.note(Severity::warning, "proof-expired",
            "that " + step.state.name(app.id) + " can be taken over by " + step.state.name(app.proof->on) +
                " is no longer proven: " + why + "; `understudy rehearse " + step.state.name(app.id) + "`",
            app.proof->on, app.id);
}

std::string ms_text(Duration duration) {
  return std::to_string(static_cast<long>(to_ms(duration))) + " ms";
}

void say_passed(Step& step, const Application& app, const Rehearsal& passed) {
  const std::string& guest = step.state.name(passed.on);
  std::string text = "rehearsal of " + step.state.name(app.id) + " passed: " + guest + " had " +
                     format_size(passed.bytes) + " attached and confirmed within " +
                     ms_text(phase_of(passed, Phase::attach) + phase_of(passed, Phase::online));
  if (passed.start) text += ", it was started there within " + ms_text(phase_of(passed, Phase::start));
  text += ", and all of it was taken back; this counts for " +
          format_duration(step.state.setup.app(app.id).proven_for);
  step.note(Severity::info, "rehearsal-passed", text, passed.on, app.id);
}

}  // namespace

Setup with_rehearsals(Setup setup) {
  const auto count = static_cast<std::uint32_t>(setup.apps.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    if (setup.apps[i].hot_standby) setup.apps.push_back(twin_setup(setup, AppId{i}));
  }
  return setup;
}

std::optional<AppId> twin_of(const Setup& setup, AppId app) {
  for (std::uint32_t i = 0; i < setup.apps.size(); ++i) {
    if (setup.apps[i].rehearses == app) return AppId{i};
  }
  return std::nullopt;
}

const Application* rehearsal_under_way(const State& state) {
  for (const Application& app : state.apps) {
    if (state.is_twin(app.id) && app.moving() != nullptr) return &app;
  }
  return nullptr;
}

std::vector<AreaId> areas_for_rehearsal(const State& state, GuestId guest) {
  const std::string& domain = state.definition(guest).trust_domain;
  std::vector<AreaId> used_there;
  std::vector<AreaId> zeroed;
  for (const AreaId id : state.table.unused()) {
    const std::string& last = state.table.area(id).last_domain;
    if (last == domain) used_there.push_back(id);
    if (last.empty()) zeroed.push_back(id);
  }
  // Those that nobody has written to are of use to every trust domain: they are taken last.
  used_there.insert(used_there.end(), zeroed.begin(), zeroed.end());
  return used_there;
}

Bytes minimum_bytes(const State& state, const Application& app) {
  const AppSetup& setup = state.setup.app(app.id);
  if (!setup.rehearses) return setup.minimum_bytes;
  return app.rehearsal && app.rehearsal->start ? state.setup.app(*setup.rehearses).minimum_bytes : 0;
}

namespace {

// Whether there are areas for it, and if not, how much memory is lacking.
std::string no_areas(const State& state, const Application& app, GuestId on, bool start) {
  const AppSetup& setup = state.setup.app(app.id);
  const Guest& guest = state.guest(on);
  const Bytes area_bytes = state.setup.pool.area_bytes;
  const Bytes usable = usable_bytes(area_bytes);
  const std::uint32_t slots = state.definition(on).slots;
  const std::size_t free_slots = slots - std::min(slots, slots_taken(state, guest.current()));
  if (free_slots == 0) {
    return state.name(on) + " has no memory slot free; raise its slots";
  }
  const std::size_t areas = std::min(areas_for_rehearsal(state, on).size(), free_slots);
  const Bytes in_base = base_use_bytes(spare_bytes(state, guest));
  const auto lacking = [&](Bytes bytes) {
    const Bytes rest = bytes - std::min(bytes, areas * usable + in_base);
    return (rest + usable - 1) / usable * area_bytes;
  };
  if (areas == 0) {
    const Bytes least = start ? lacking(setup.minimum_bytes) : area_bytes;
    const Bytes all = std::max(least, lacking(setup.desired_bytes));
    return "no area of the pool is unused, and a rehearsal takes nothing that anybody has; raise memory of "
           "[pool] by " +
           format_size(least) + (all > least ? ", or by " + format_size(all) + " to rehearse all of it" : "");
  }
  if (start && areas * usable + in_base < setup.minimum_bytes) {
    return "only " + format_size(areas * area_bytes) + " of the pool are unused, and " + setup.name +
           " is not started with less than " + format_size(setup.minimum_bytes) +
           "; raise memory of [pool] by " + format_size(lacking(setup.minimum_bytes)) +
           ", or rehearse without --start: that attaches what is there";
  }
  return "";
}

}  // namespace

std::string why_no_rehearsal(const State& state, const Application& app, bool start) {
  const std::string& name = state.name(app.id);
  if (!state.setup.app(app.id).hot_standby || !twin_of(state.setup, app.id))
    return name + " is not a hot standby job: nobody would take it over";
  if (!state.journal_trouble.empty()) return state.journal_trouble;
  if (const Application* twin = rehearsal_under_way(state)) {
    return "there is a rehearsal under way, of " + state.name(*state.setup.app(twin->id).rehearses) +
           "; ask again when it has ended";
  }
  if (const std::string why = not_settled(app); !why.empty()) return name + " does not just serve: " + why;
  if (const std::string why = whoever_needs_room(state); !why.empty())
    return why + "; ask again when that is over";
  if (const std::string why = hands_off(state, app); !why.empty()) return why;
  std::string nobody;
  const auto on = ready_standby(state, app, nobody);
  if (!on) return name + " is not protected: " + nobody;
  return no_areas(state, app, *on, start);
}

void handle(Step& step, const event::Rehearse& event) {
  State& state = step.state;
  const Application& app = state.app(event.app);
  if (!why_no_rehearsal(state, app, event.start).empty()) return;  // whoever asked was told
  Application& twin = state.app(*twin_of(state.setup, app.id));
  std::string nobody;
  const GuestId on = *ready_standby(state, app, nobody);
  Rehearsal rehearsal;
  rehearsal.number = ++state.rehearsals;
  rehearsal.start = event.start;
  rehearsal.on = on;
  rehearsal.spare_bytes = spare_bytes(state, state.guest(on));
  rehearsal.began = step.now;
  twin.rehearsal = std::move(rehearsal);
  twin.wanted = true;
  twin.avoid.clear();
  begin_move(step, twin, "rehearsal", std::nullopt, step.now, Choosing{}).preferred = on;
  step.note(Severity::info, "rehearsal-began",
            state.name(app.id) + " is rehearsed on " + state.name(on) + ": unused memory is attached to it" +
                (event.start ? ", the application is started there in isolation," : "") + " and taken back",
            on, app.id);
}

void handle(Step& step, const event::Proven& event) {
  Application& app = step.state.app(event.app);
  const auto& guests = step.state.setup.app(app.id).guests;
  if (std::find(guests.begin(), guests.end(), event.on) == guests.end()) return;
  if (event.start) app.rehearsed = event.took;
  app.proof = Proof{step.now - event.ago, event.start, event.on, event.took, event.bytes, event.image, ""};
}

void advance_rehearsals(Step& step) {
  if (Application* twin = twin_under_way(step.state); twin != nullptr && !twin->rehearsal->ending) {
    const std::string why = why_end(step.state, *twin);
    if (!why.empty()) end_rehearsal(step, *twin, why);
  }
  for (Application& app : step.state.apps) {
    if (!app.proof || !app.proof->void_why.empty()) continue;
    const Duration lasts = step.state.setup.app(app.id).proven_for;
    if (step.now >= app.proof->at + lasts) {
      make_void(step, app, "the rehearsal was more than " + format_duration(lasts) + " ago");
    }
  }
}

std::optional<Time> rehearsals_deadline(const State& state) {
  std::optional<Time> first;
  for (const Application& app : state.apps) {
    if (!app.proof || !app.proof->void_why.empty()) continue;
    const Time at = app.proof->at + state.setup.app(app.id).proven_for;
    if (!first || at < *first) first = at;
  }
  return first;
}

bool must_wait_for_rehearsal(const State& state, const Application& app, const Guest& guest) {
  const Application* twin = rehearsal_under_way(state);
  if (twin == nullptr) return false;
  if (app.moving() != nullptr && app.moving()->move.after_rehearsal) return true;
  if (twin->place() == guest.current() && twin->in_step<Yielding>() == nullptr) return true;
  return !why_not_after(state, app, guest, nullptr, OfRehearsals::only_yielded).empty();
}

void take_areas_of_rehearsal(Step& step, Application& app, const Guest& to) {
  Application* twin = twin_under_way(step.state);
  if (twin == nullptr || twin->in_step<Yielding>() == nullptr || twin->place() != to.current()) return;
  for (const AreaId id : step.state.table.in_use_by(twin->id, to.current())) {
    step.state.table.hand_over(id, app.id);
  }
  rehearsal_over(step, *twin);
}

void place_rehearsal(Step& step, Application& twin) {
  if (!twin.rehearsal || twin.rehearsal->ending) return rehearsal_over(step, twin);
  const Guest& to = step.state.guest(twin.rehearsal->on);
  std::string why = step.state.journal_trouble;
  if (why.empty()) why = why_not(step.state, twin, to);
  if (why.empty()) return place(step, twin, to);
  rehearsal_fails(twin, why);
  rehearsal_over(step, twin);
}

void rehearsal_engaged(Step& step, Application& twin, GuestRun in, Bytes limit_bytes) {
  Rehearsal& rehearsal = *twin.rehearsal;
  rehearsal.bytes = attached_bytes(step.state, twin, in);
  if (!rehearsal.start && rehearsal.failed.empty()) rehearsal.proven = true;
  if (rehearsal.start && !rehearsal.ending) return enter_starting(step, twin, in, limit_bytes);
  leave_or_yield(step, twin, in);
}

void rehearsal_healthy(Step& step, Application& twin, GuestRun in) {
  twin.moving()->move.lap(Phase::start, step.now);
  twin.rehearsal->proven = true;
  twin.rehearsal->bytes = attached_bytes(step.state, twin, in);
  enter_stopping(step, twin, in);
}

void rehearsal_stopped(Step& step, Application& twin, GuestRun in) {
  leave_or_yield(step, twin, in);
}

void rehearsal_fails(Application& twin, const std::string& why) {
  if (twin.rehearsal && twin.rehearsal->failed.empty()) twin.rehearsal->failed = why;
}

void rehearsal_over(Step& step, Application& twin) {
  State& state = step.state;
  for (const AreaId id : state.table.held_by(twin.id)) state.table.free(id);
  Rehearsal done = twin.rehearsal.value_or(Rehearsal{});
  const Move* move = twin.moving() != nullptr ? &twin.moving()->move : nullptr;
  if (!done.proven && done.failed.empty()) done.failed = "it did not come to its end";
  done.ended = step.now;
  Application& app = state.app(*state.setup.app(twin.id).rehearses);
  if (move != nullptr) {
    done.phases = move->report.phases;
    if (done.passed()) stamp(state, app, done);
  }
  if (done.passed()) {
    say_passed(step, app, done);
  } else {
    step.note(
        Severity::warning, "rehearsal-failed",
        "rehearsal of " + state.name(app.id) + " on " + state.name(done.on) + " did not pass: " + done.failed,
        done.on, app.id);
  }
  app.rehearsal = std::move(done);
  twin.rehearsal.reset();
  twin.wanted = false;
  twin.state = app_state::Idle{};
}

void advance_yielding(Step& step, Application& twin) {
  const Yielding at = *twin.in_step<Yielding>();
  // Whoever chooses has had the choice in this very step.
  if (awaited(step.state, at.in.guest, false) && step.now < at.deadline) return;
  if (step.now >= at.deadline) {
    step.note(Severity::warning, "limit-passed",
              "nobody came within " + format_duration(kYieldLimit) + " for the memory that " +
                  step.state.name(twin.id) + " has on " + step.state.name(at.in.guest) + ": it is taken back",
              at.in.guest, step.state.setup.app(twin.id).rehearses);
  }
  enter_releasing(step, twin, at.in);
}

void image_booted(Step& step, Guest& guest, const std::string& image) {
  guest.image = image;
  for (Application& app : step.state.apps) {
    if (!app.proof || !app.proof->void_why.empty() || app.proof->on != guest.id) continue;
    if (!image.empty() && app.proof->image == image) continue;
    make_void(step, app, step.state.name(guest.id) + " has booted another image since");
  }
}

}  // namespace understudy::core

// The one path of an application to the guest where it serves: choose a guest, let its OS compute what is
// missing, plug areas, have them confirmed from inside, start, open the address. A first start and a takeover
// differ only in which areas come first: the application's own, which its failed guest held.
#include "base/check.hpp"
#include "core/state.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace understudy::core {

namespace {

using namespace move_step;

constexpr Duration kFirstAvoid = std::chrono::seconds(1);
constexpr Duration kLongestAvoid = std::chrono::seconds(60);

// The answer's application, if it is in this step on this run under this epoch: everything else is late,
// repeated or made up, and changes nothing.
template <class Wanted, class Answer>
Application* placing_in(Step& step, const Answer& answer) {
  Application& app = step.state.app(answer.app);
  const auto* at = app.template in_step<Wanted>();
  return at != nullptr && at->to == answer.run && app.epoch == answer.epoch ? &app : nullptr;
}

// One that comes before this one, may go to the same guest, and waits until somebody's need is known.
// Overtaken, it would find the guest taken by whoever was faster, and what comes of a failure could not be
// foreseen.
const Application* chooses_before(const State& state, const Application& app, GuestId guest) {
  for (const AppId id : state.by_priority()) {
    if (id == app.id) break;
    const Application& other = state.app(id);
    const auto* choosing = other.in_step<Choosing>();
    const std::vector<GuestId>& guests = state.setup.app(id).guests;
    if (choosing == nullptr || !choosing->for_another || state.is_twin(id)) continue;
    if (std::find(guests.begin(), guests.end(), guest) != guests.end()) return &other;
  }
  return nullptr;
}

// The guest on which the application may be placed now. A first start waits for a preferred guest that is
// still coming up for the first time; a takeover takes the first that can.
const Guest* choose(const State& state, const Application& app, const Move& move, Choosing& choosing) {
  const AppSetup& setup = state.setup.app(app.id);
  std::string& why = choosing.why_not_yet;
  std::vector<GuestId> order = setup.guests;
  if (!setup.hot_standby) order.resize(1);
  // Where it failed is tried last, however long its leaving took.
  const auto first = [&order](auto is) { std::stable_partition(order.begin(), order.end(), is); };
  first([&](GuestId id) { return hands_off(state, state.guest(id)).empty(); });
  if (move.from) first([&](GuestId id) { return id != *move.from; });
  if (move.preferred) first([&](GuestId id) { return id == *move.preferred; });
  why.clear();
  for (const GuestId id : order) {
    const Guest& guest = state.guest(id);
    std::string reason = why_not(state, app, guest);
    if (reason.empty()) reason = keeps_off(state, app, guest);
    if (reason.empty()) {
      if (const Application* other = sized_before(state, app, guest)) {
        choosing.for_another = true;
        why = "what " + state.name(other->id) + " needs is being computed first";
        return nullptr;
      }
      if (const Application* chooser = chooses_before(state, app, id)) {
        choosing.for_another = true;
        why = state.name(chooser->id) + " is placed first";
        return nullptr;
      }
      if (!must_wait_for_rehearsal(state, app, guest)) return &guest;
      choosing.for_rehearsal = true;
      reason = state.name(id) + " is free for it as soon as a rehearsal has ended";
    }
    if (!why.empty()) why += "; ";
    why += reason;
    if (!move.from && guest.coming_up() && guest.run == 1) return nullptr;
  }
  return nullptr;
}

std::size_t free_slots(const State& state, GuestRun run) {
  const std::uint32_t slots = state.definition(run.guest).slots;
  return slots - std::min(slots, slots_taken(state, run));
}

// The application's areas for a stated need: as many as wanted, or as many as there are if they reach the
// minimum, or none.
std::optional<std::vector<AreaId>> grant(const State& state, const Application& app, GuestRun to,
                                         Bytes missing_bytes) {
  const AppSetup& setup = state.setup.app(app.id);
  const Bytes usable = usable_bytes(state.setup.pool.area_bytes);
  std::vector<AreaId> areas =
      state.is_twin(app.id) ? areas_for_rehearsal(state, to.guest) : areas_for(state, app);
  if (areas.size() > free_slots(state, to)) areas.resize(free_slots(state, to));
  // A guest cannot ask for more than the application is entitled to, whatever it claims.
  const Bytes area_bytes = state.setup.pool.area_bytes;
  Bytes entitled = (setup.desired_bytes + usable - 1) / usable * area_bytes;
  // What it took over from a rehearsal, or left there and could not be let go of, it has already.
  for (const AreaId id : state.table.in_use_by(app.id, to)) {
    const AreaState has = state.table.area(id).state;
    if (has == AreaState::engaged || has == AreaState::releasing) entitled -= std::min(entitled, area_bytes);
  }
  const Bytes missing = std::min(missing_bytes, entitled);
  const std::size_t needed = (missing + area_bytes - 1) / area_bytes;
  // Plugged by a daemon that died before they were all there: its OS does not count them yet.
  std::size_t there = 0;
  for (const AreaId id : state.table.in_use_by(app.id, to)) {
    there += state.table.area(id).state == AreaState::plugged ? 1 : 0;
  }
  const std::size_t wanted = needed - std::min(needed, there);
  if (areas.size() >= wanted) {
    areas.resize(wanted);
    return areas;
  }
  const Bytes in_base = setup.desired_bytes - std::min(setup.desired_bytes, usable_bytes(missing));
  if ((areas.size() + there) * usable + in_base < minimum_bytes(state, app)) return std::nullopt;
  return areas;
}

Duration avoided_for(std::uint32_t times) {
  return std::min<Duration>(kLongestAvoid, kFirstAvoid * (1LL << std::min(times - 1, 10U)));
}

// What an application printed, in its own words: many lines, which no event of ours can be taken for.
std::string with_output(const std::string& output) {
  return output.empty() ? "" : "; its output:\n" + output;
}

// It was in vain: the report goes on from where it was before.
void close_attempt(Step& step, Move& move) {
  if (!move.before) return;
  TakeoverReport& report = move.report;
  report.phases = move.before->phases;
  report.bytes_moved = move.before->bytes_moved;
  report.bytes_zeroed = move.before->bytes_zeroed;
  move.before.reset();
  ++report.attempts_in_vain;
  report.in_vain += step.now - move.placed_at;
  report.attempts.push_back({*report.to, step.now - move.placed_at, std::move(move.in_vain_why)});
  if (report.attempts.size() > TakeoverReport::kMostAttempts) report.attempts.erase(report.attempts.begin());
  move.in_vain_why.clear();
  report.to.reset();
  move.mark = step.now;
}

void finish(Step& step, Application& app, Move& move) {
  move.lap(Phase::serving, step.now);
  const bool again = move.from == move.report.to;
  const bool back = again && !move.given_up.empty();
  move.report.result = back ? "given up: " + move.given_up : "serving";
  if (again) {
    // Nobody could take it, or it was not to be: where it was it serves again, and nothing was taken over.
    move.report.from.reset();
    move.report.bytes_moved = 0;
  } else if (move.from) {
    app.placing.add(step.now - move.placed_at);
  }
  const std::string verb = again ? " serves again on " : move.from ? " serves on " : " started on ";
  step.note(Severity::info, move.from && !back ? "takeover-done" : "app-serving",
            step.state.name(app.id) + verb + step.state.name(*move.report.to) + " " +
                std::to_string(static_cast<long>(to_ms(move.report.total()))) + " ms after: " + move.cause,
            move.report.to, app.id);
  step.out.reports.push_back(move.report);
}

// Even all that could be given to it now would not do, whichever guest takes it.
bool areas_short(const State& state, const Application& app) {
  return areas_for(state, app).size() * usable_bytes(state.setup.pool.area_bytes) <
         state.setup.app(app.id).minimum_bytes;
}

}  // namespace

Application::Avoid& avoid(Step& step, Application& app, GuestId guest, const std::string& why) {
  Application::Avoid& entry = app.avoid[guest];
  ++entry.times;
  entry.why = why;
  entry.until = step.now + avoided_for(entry.times);
  if (step.state.is_twin(app.id)) return entry;
  ++app.failed_starts;
  app.failing = step.state.name(guest) + ": " + why;
  if (auto* moving = app.moving()) moving->move.in_vain_why = why;
  return entry;
}

void advance_choosing(Step& step, Application& app, Choosing& choosing) {
  if (step.state.is_twin(app.id)) return place_rehearsal(step, app);
  if (!app.wanted) {
    for (const AreaId id : step.state.table.held_by(app.id)) step.state.table.free(id);
    app.state = app_state::Idle{};
    return;
  }
  if (!step.state.journal_trouble.empty()) {
    choosing = {.why_not_yet = step.state.journal_trouble};
    return;
  }
  if (is_held_back(step.state, app)) {
    choosing = {.why_not_yet = why_held_back(step.state, app)};
    return;
  }
  app.suspicion.reset();
  Move& move = app.moving()->move;
  const std::string before = choosing.why_not_yet;
  choosing = {.why_not_yet = hands_off(step.state, app)};
  const bool may_move = choosing.why_not_yet.empty();
  const Guest* to = may_move ? choose(step.state, app, move, choosing) : nullptr;
  if (to == nullptr) {
    const bool rehearsed = rehearsal_under_way(step.state) != nullptr;
    if (may_move && !rehearsed && !choosing.for_another && areas_short(step.state, app)) preempt(step, app);
    if (before != choosing.why_not_yet && move.from && !choosing.for_another) {
      step.note(Severity::warning, "takeover-waits",
                step.state.name(app.id) + " waits: " + choosing.why_not_yet, std::nullopt, app.id);
    }
    return;
  }
  take_areas_of_rehearsal(step, app, *to);
  place(step, app, *to);
}

void start_failed(Step& step, Application& app, GuestRun in, const std::string& why,
                  const std::string& output) {
  avoid(step, app, in.guest, why);
  step.note(Severity::error, "app-start-failed",
            step.state.name(app.id) + " could not be started on " + step.state.name(in.guest) + " (attempt " +
                std::to_string(app.failed_starts) + "): " + why + "; not tried there again for " +
                format_duration(avoided_for(app.avoid.at(in.guest).times)) + with_output(output),
            in.guest, app.id);
}

const char* move_step_name(const MoveStep& step) {
  struct Names {
    const char* operator()(const Stopping&) const { return "stopping"; }
    const char* operator()(const Releasing&) const { return "releasing"; }
    const char* operator()(const AwaitingFence&) const { return "fencing"; }
    const char* operator()(const Resuming&) const { return "resuming"; }
    const char* operator()(const Choosing&) const { return "waiting"; }
    const char* operator()(const Sizing&) const { return "sizing"; }
    const char* operator()(const Plugging&) const { return "attaching"; }
    const char* operator()(const Engaging&) const { return "onlining"; }
    const char* operator()(const Starting&) const { return "starting"; }
    const char* operator()(const Yielding&) const { return "yielding"; }
  };
  return std::visit(Names{}, step);
}

void place(Step& step, Application& app, const Guest& to) {
  Move& move = app.moving()->move;
  ++app.epoch;
  move.report.to = to.id;
  move.report.epoch = app.epoch;
  move.report.waited += step.now - move.mark;
  move.mark = move.placed_at = step.now;
  move.in_vain_why.clear();
  move.before = {move.report.phases, move.report.bytes_moved, move.report.bytes_zeroed};
  enter_sizing(step, app, to.current());
  step.note(Severity::info, "app-placing", step.state.name(app.id) + " goes to " + step.state.name(to.id),
            to.id, app.id);
}

void enter_engaging(Step& step, Application& app, GuestRun to) {
  app.moving()->move.step = Engaging{to, step.now + kEngagingLimit};
}

void enter_starting(Step& step, Application& app, GuestRun to, Bytes limit_bytes) {
  Move& move = app.moving()->move;
  // The agent has the same limit, and knows what the application said and what the last check found.
  move.step =
      Starting{to, step.now + step.state.setup.app(app.id).start_limit + kAnswerGrace, limit_bytes, 0};
  step.out.start.push_back({to, app.id, app.epoch, limit_bytes, step.state.table.in_use_by(app.id, to)});
}

void enter_sizing(Step& step, Application& app, GuestRun to) {
  app.moving()->move.step = Sizing{to, step.now + kSizingLimit};
  step.out.need.push_back({to, app.id, app.epoch, step.state.setup.app(app.id).desired_bytes});
}

Move& begin_move(Step& step, Application& app, const std::string& cause, std::optional<GuestId> from,
                 Time since, MoveStep first) {
  Move move{.step = std::move(first),
            .cause = cause,
            .from = from,
            .preferred = {},
            .give_up = {},
            .mark = step.now,
            .before = {},
            .in_vain_why = {},
            .report = {}};
  move.report.app = app.id;
  move.report.cause = cause;
  move.report.from = from;
  move.report.phases[static_cast<std::size_t>(Phase::detect)] = step.now - since;
  app.state = app_state::Moving{std::move(move)};
  if (from) {
    step.note(Severity::warning, "takeover-begun",
              step.state.name(app.id) + " leaves " + step.state.name(*from) + ": " + cause, from, app.id);
  }
  return app.moving()->move;
}

void stopped_by_order(Step& step, Application& app) {
  const auto* moving = app.moving();
  const std::string& name = step.state.name(app.id);
  step.note(Severity::info, "app-stopped",
            name + " is stopped; `understudy start " + name + "` starts it again",
            moving != nullptr ? moving->move.from : std::nullopt, app.id);
  app.wanted = false;
  app.state = app_state::Failed{std::string(app_state::kStoppedByOrder)};
}

void enter_choosing(Step& step, Application& app) {
  if (step.state.is_twin(app.id)) return rehearsal_over(step, app);
  Move& move = app.moving()->move;
  close_attempt(step, move);
  if (!move.give_up.empty()) {
    for (const AreaId id : step.state.table.held_by(app.id)) step.state.table.free(id);
    if (move.give_up == app_state::kStoppedByOrder) return stopped_by_order(step, app);
    step.note(Severity::error, "app-failed", step.state.name(app.id) + " is given up: " + move.give_up,
              move.from, app.id);
    app.wanted = false;
    app.state = app_state::Failed{move.give_up};
    return;
  }
  if (!step.state.setup.app(app.id).hot_standby || move.yields || is_held_back(step.state, app)) {
    for (const AreaId id : step.state.table.held_by(app.id)) step.state.table.free(id);
  }
  move.step = Choosing{};
}

void handle(Step& step, const event::NeedStated& event) {
  Application* app = placing_in<Sizing>(step, event);
  if (app == nullptr) return;
  const GuestRun to = event.run;
  Table& table = step.state.table;
  const Bytes missing_bytes = really_missing_bytes(step.state, *app, to, event.missing_bytes);
  const std::optional<std::vector<AreaId>> grantable = grant(step.state, *app, to, missing_bytes);
  const bool twin = step.state.is_twin(app->id);
  if (twin && (!grantable || grantable->empty()) && missing_bytes > 0) {
    rehearsal_fails(*app, "too few unused areas are left for it");
    enter_releasing(step, *app, to);
    return;
  }
  if (!grantable && rehearsal_under_way(step.state) != nullptr) {
    // What it lacks is what the rehearsal has, and is about to have no more.
    app->moving()->move.after_rehearsal = true;
    enter_releasing(step, *app, to);
    return;
  }
  if (!grantable) {
    const std::string why = step.state.name(app->id) + " needs " + format_size(missing_bytes) + " more on " +
                            step.state.name(to.guest) + " than the pool has left";
    avoid(step, *app, to.guest, why);
    step.note(Severity::error, "no-memory", why, to.guest, app->id);
    enter_releasing(step, *app, to);  // of what was plugged before a restart of the daemon, if anything
    return;
  }
  const std::vector<AreaId>& granted = *grantable;
  Move& move = app->moving()->move;
  // What this guest had kept of it before is in use there, and counted as such in what it says it lacks.
  for (const AreaId id : table.in_use_by(app->id, to)) {
    if (table.area(id).state == AreaState::releasing) table.keep(id);
  }
  for (const AreaId id : granted) {
    if (table.area(id).state == AreaState::unused) {
      table.hold(id, app->id);
    } else if (move.from) {
      move.report.bytes_moved += step.state.setup.pool.area_bytes;
    }
  }
  for (const AreaId id : table.held_by(app->id)) {
    if (std::find(granted.begin(), granted.end(), id) == granted.end()) table.free(id);
  }
  if (granted.empty() && table.in_use_by(app->id, to).empty()) {
    move.lap(Phase::attach, step.now);
    if (twin && !app->rehearsal->start) {
      rehearsal_fails(*app, step.state.name(to.guest) +
                                " has memory enough without any area, so there is nothing to attach; "
                                "rehearse it with --start");
      enter_releasing(step, *app, to);
      return;
    }
    enter_starting(step, *app, to, step.state.setup.app(app->id).desired_bytes);
    return;
  }
  begin_plugging(step, *app, to, granted);
}

void handle(Step& step, const event::AreasEngaged& event) {
  Application& known = step.state.app(event.app);
  if (known.serving() != nullptr && known.serving()->growing && known.serving()->on == event.run &&
      known.epoch == event.epoch) {
    growth_engaged(step, known, event);
    return;
  }
  if (auto* leaving = known.in_step<Releasing>();
      leaving != nullptr && leaving->from == event.run && known.epoch == event.epoch) {
    leaving->engaging = false;
    return go_on_releasing(step, known);
  }
  Application* app = placing_in<Engaging>(step, event);
  if (app == nullptr) return;
  const std::vector<AreaId> areas = step.state.table.in_use_by(app->id, event.run);
  const Bytes usable = areas.size() * usable_bytes(step.state.setup.pool.area_bytes);
  // Half of it is proof enough that the areas are counted; a guest that claims less has not got them.
  if (event.memory.total_bytes < usable / 2) {
    condemn(step, step.state.guest(event.run.guest),
            step.state.name(event.run.guest) + " confirmed areas but has only " +
                format_size(event.memory.total_bytes) + " in all",
            step.now);
    return;
  }
  for (const AreaId id : areas) {
    if (step.state.table.area(id).state == AreaState::plugged) step.state.table.engaged(id);
  }
  app->moving()->move.lap(Phase::online, step.now);
  const Bytes desired = step.state.setup.app(app->id).desired_bytes;
  const Bytes limit = std::min(desired, std::max(usable, event.memory.available_bytes));
  if (step.state.is_twin(app->id)) return rehearsal_engaged(step, *app, event.run, limit);
  enter_starting(step, *app, event.run, limit);
}

void handle(Step& step, const event::EngageFailed& event) {
  Application& known = step.state.app(event.app);
  const auto* growing = known.serving();
  const auto* leaving = known.in_step<Releasing>();
  const bool leaves = leaving != nullptr && leaving->engaging && leaving->from == event.run;
  const bool grows = growing != nullptr && growing->growing && growing->on == event.run;
  const bool alone = others_there(step.state, known, event.run).empty();
  if ((leaves || grows) && known.epoch == event.epoch) {
    const std::string why =
        step.state.name(event.run.guest) + " could not use more memory (" + event.why + ")";
    if (alone) return condemn(step, step.state.guest(event.run.guest), why, step.now);
    if (grows) return leave_for_memory(step, known, why);
    known.in_step<Releasing>()->engaging = false;
    return go_on_releasing(step, known);
  }
  Application* app = placing_in<Engaging>(step, event);
  if (app == nullptr) return;
  avoid(step, *app, event.run.guest, "its new memory could not be used (" + event.why + ")");
  if (!alone) {
    // Whoever serves there has what it needs. The guest is ended only if it does not give the areas back.
    step.note(Severity::error, "engage-failed",
              step.state.name(event.run.guest) + " could not use its new memory (" + event.why +
                  "); the areas of " + step.state.name(app->id) + " are taken back",
              event.run.guest, app->id);
    if (step.state.is_twin(app->id)) rehearsal_fails(*app, "the new memory could not be used: " + event.why);
    return enter_releasing(step, *app, event.run);
  }
  // Part of the struct pages may have leaked in its kernel. It is thrown away, never asked again.
  condemn(step, step.state.guest(event.run.guest),
          step.state.name(event.run.guest) + " could not use its new memory (" + event.why + ")", step.now);
}

void handle(Step& step, const event::AppServing& event) {
  Application& known = step.state.app(event.app);
  if (auto* serving = known.serving();
      serving != nullptr && serving->on == event.run && known.epoch == event.epoch) {
    if (serving->trouble.empty()) return;  // said twice
    serving->trouble.clear();
    if (std::exchange(serving->withdrawn, false)) step.out.route.push_back({known.id, serving->on});
    serving->restart_due.reset();
    step.note(Severity::info, "app-restarted", step.state.name(known.id) + " serves again where it was",
              event.run.guest, known.id);
    return;
  }
  Application* app = placing_in<Starting>(step, event);
  if (app == nullptr) return;
  if (step.state.is_twin(app->id)) return rehearsal_healthy(step, *app, event.run);
  const Starting started = *app->in_step<Starting>();
  Move move = std::move(app->moving()->move);
  move.lap(Phase::start, step.now);
  const std::vector<AreaId> own = step.state.table.in_use_by(app->id, event.run);
  for (const AreaId id : event.areas_in_use) {
    if (std::find(own.begin(), own.end(), id) != own.end()) continue;
    step.note(Severity::error, "agent-misbehaved",
              step.state.name(event.run.guest) + " says that " + step.state.name(app->id) + " uses area " +
                  std::to_string(id.value) + ", which is not its own; ignored",
              event.run.guest, app->id);
  }
  app->avoid.clear();
  app->failed_starts = 0;
  app->failing.clear();
  // What a former guest kept until it was stopped came back too late to be of use.
  for (const AreaId id : step.state.table.held_by(app->id)) step.state.table.free(id);
  app_state::Serving serving{
      .on = event.run,
      .since = step.now,
      .limit_bytes = started.limit_bytes,
      .lost_bytes = started.lost_bytes,
      .base_use_bytes = std::min(event.base_use_bytes, step.state.definition(event.run.guest).base_bytes),
      .unrouted = {},
      .growing = {},
      .growth_trouble = {},
      .wants = {},
      .trouble = {},
      .withdrawn = false,
      .unreachable = {},
      .restart_due = {}};
  if (step.state.has_port_for(app->id, event.run.guest)) {
    step.out.route.push_back({app->id, event.run});
    serving.unrouted = std::move(move);
  } else {
    finish(step, *app, move);
  }
  app->state = std::move(serving);
}

void handle(Step& step, const event::AddressRouted& event) {
  Application& app = step.state.app(event.app);
  auto* serving = app.serving();
  if (serving == nullptr || serving->on != event.run) return;
  if (!std::exchange(serving->unreachable, {}).empty()) {
    step.note(Severity::info, "app-reachable",
              "clients reach " + step.state.name(app.id) + " on " + step.state.name(event.run.guest),
              event.run.guest, app.id);
  }
  if (!serving->unrouted) return;
  finish(step, app, *serving->unrouted);
  serving->unrouted.reset();
}

// It stays where it is: another guest boots the same image and would start it with the same command. The gate
// goes on trying, so whatever mends it inside the guest ends this.
void handle(Step& step, const event::AddressUnreachable& event) {
  Application& app = step.state.app(event.app);
  auto* serving = app.serving();
  if (serving == nullptr || serving->on != event.run || serving->withdrawn) return;
  if (std::exchange(serving->unreachable, event.why) == event.why) return;  // said already
  step.note(Severity::error, "app-unreachable",
            step.state.name(app.id) + " runs on " + step.state.name(event.run.guest) +
                ", and no client can be led to it: " + event.why,
            event.run.guest, app.id);
}

void handle(Step& step, const event::AppStartFailed& event) {
  Application* app = placing_in<Starting>(step, event);
  if (app == nullptr) return;
  if (step.state.is_twin(app->id)) {
    app->moving()->move.lap(Phase::start, step.now);
    rehearsal_fails(*app, "it could not be started: " + event.why + with_output(event.evidence));
    enter_releasing(step, *app, event.run);
    return;
  }
  start_failed(step, *app, event.run, event.why, event.evidence);
  if (event.configuration) app->moving()->move.give_up = event.why;
  enter_releasing(step, *app, event.run);
}

}  // namespace understudy::core

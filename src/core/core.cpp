#include "core/core.hpp"

#include "base/check.hpp"

#include <algorithm>

namespace understudy::core {

namespace {

// Who is called as much later than the time that it asked for was not let run: it was stopped, or its host
// was.
constexpr Duration kLate = std::chrono::milliseconds(250);
// What has arrived meanwhile comes one after the other. Nobody is late before all of it has been heard; but a
// daemon that is always late must still find a guest that hangs.
constexpr Duration kToBeHeard = std::chrono::milliseconds(200);
constexpr Duration kToBeHeardAgain = std::chrono::seconds(2);
constexpr Duration kWorthSaying = std::chrono::seconds(1);

// What comes many times a second and changes nothing as a rule.
bool changes_anything(const Event& event) {
  return !std::holds_alternative<event::AgentBeat>(event) && !std::holds_alternative<event::Tick>(event) &&
         !std::holds_alternative<event::ProbeAnswer>(event) &&
         !std::holds_alternative<event::GuestSeen>(event);
}

}  // namespace

State::State(Setup s) : setup(std::move(s)), table(setup.pool.area_count), forecasts(setup.guests.size()) {
  for (std::uint32_t i = 0; i < setup.guests.size(); ++i) {
    Guest guest;
    guest.id = GuestId{i};
    guest.journalled = guest.record();
    guests.push_back(std::move(guest));
  }
  for (std::uint32_t i = 0; i < setup.apps.size(); ++i) {
    Application app;
    app.id = AppId{i};
    app.journalled = app.record();
    apps.push_back(std::move(app));
  }
}

void State::forget_forecasts() {
  for (std::optional<Forecast>& kept : forecasts) kept.reset();
}

const Definition& State::definition(GuestId id) const {
  const auto& run = guest(id).started_with;
  return run ? *run : setup.guest(id);
}

bool State::has_port_for(AppId app, GuestId in) const {
  const auto& without = guest(in).no_port_for;
  return setup.app(app).has_address && std::find(without.begin(), without.end(), app) == without.end();
}

Guest* State::living(GuestRun run) {
  if (run.guest.value >= guests.size()) return nullptr;
  Guest& guest = guests[run.guest.value];
  return guest.run == run.run ? &guest : nullptr;
}

std::vector<AppId> State::by_priority() const {
  std::vector<AppId> order;
  for (const Application& app : apps) order.push_back(app.id);
  std::stable_sort(order.begin(), order.end(),
                   [&](AppId a, AppId b) { return setup.app(a).priority > setup.app(b).priority; });
  return order;
}

void advance_applications(Step& step) {
  advance_rehearsals(step);
  for (const AppId id : step.state.by_priority()) advance(step, step.state.app(id));
}

Core::Core(Setup setup) : state_(std::move(setup)) {}

Outputs Core::step(Time now, const Event& event) {
  Outputs out;
  state_.forget_forecasts();
  const Duration late = due_ && now > *due_ ? now - *due_ : Duration{};
  const Duration lost = lost_time(now);
  if (lost > Duration{}) postpone_silence(state_, lost);
  // While the journal refuses, what was asked last may not have been asked of anybody: nobody is late.
  postpone_deadlines(state_, state_.journal_trouble.empty() ? lost : now - state_.now);
  state_.now = now;
  Step step{state_, now, out};
  if (lost > kWorthSaying) {
    step.note(Severity::warning, "daemon-late",
              "the daemon was not scheduled for " + readable_duration(late) +
                  " (it or its host was stopped, or starved of CPU): what was missed meanwhile counts "
                  "against nobody",
              std::nullopt);
  }
  std::visit([&](const auto& e) { handle(step, e); }, event);
  advance_all(step);
  state_.table.check();
  record_changes(out);
  tell_protection(step, changes_anything(event) || !out.journal.empty() || !out.notices.empty());
  take_back(out, out);  // one event may lead to a request and, in the same step, to the end of its reason
  due_ = first_deadline();
  if (due_) due_ = std::max(*due_, now);  // nobody could have been called before
  return out;
}

// What the daemon did not see for want of being let run counts against nobody: how much later everything is
// due.
Duration Core::lost_time(Time now) {
  if (!due_ || now - *due_ <= kLate) return {};
  const Duration late = now - *due_;
  if (excused_ && now - *excused_ < kToBeHeardAgain) return late;
  excused_ = now;
  return late + kToBeHeard;
}

void Core::advance_all(Step& step) {
  end_maintenance(step);
  // Applications first: what they begin (a takeover) decides whether guests are cleared up or booted now.
  advance_applications(step);
  const bool going_down =
      std::none_of(state_.guests.begin(), state_.guests.end(), [](const Guest& g) { return g.wanted; });
  const bool apps_done = std::none_of(state_.apps.begin(), state_.apps.end(),
                                      [](const Application& a) { return a.place().has_value(); });
  for (Guest& guest : state_.guests) {
    if (going_down && apps_done) condemn(step, guest, "going down", step.now);
    advance(step, guest);
    advance_vcpus(step, guest);
    advance_leftovers(step, guest);
  }
  // A guest that was given up just now has put its applications on their way.
  advance_rehearsals(step);
  prepare_again(step);
}

void Core::record_changes(Outputs& out) {
  for (Guest& guest : state_.guests) {
    GuestRecord record = guest.record();
    if (record == guest.journalled) continue;
    guest.journalled = record;
    out.journal.push_back(std::move(record));
  }
  for (Application& app : state_.apps) {
    AppRecord record = app.record();
    if (record == app.journalled) continue;
    app.journalled = record;
    out.journal.push_back(std::move(record));
  }
  for (AreaRecord& record : state_.table.take_changes()) out.journal.push_back(std::move(record));
}

std::optional<Time> Core::first_deadline() const {
  std::optional<Time> first;
  const auto take = [&](std::optional<Time> at) {
    if (at && (!first || *at < *first)) first = at;
  };
  for (const Guest& guest : state_.guests) {
    take(deadline(state_, guest));
    take(vcpus_deadline(state_, guest));
    take(leftovers_deadline(guest));
  }
  // While the journal refuses these are put off as time goes on, and so do not come any nearer.
  if (state_.journal_trouble.empty()) {
    for (const Application& app : state_.apps) take(deadline(state_, app));
  }
  take(maintenance_end(state_));
  take(rehearsals_deadline(state_));
  return first;
}

bool Core::is_down() const {
  const bool guests_off = std::all_of(state_.guests.begin(), state_.guests.end(), [](const Guest& guest) {
    return !guest.wanted && std::holds_alternative<guest_state::Off>(guest.state);
  });
  const bool apps_off = std::none_of(state_.apps.begin(), state_.apps.end(),
                                     [](const Application& app) { return app.place().has_value(); });
  return guests_off && apps_off;
}

}  // namespace understudy::core

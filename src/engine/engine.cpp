#include "engine/engine.hpp"

#include "base/doing.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace understudy::engine {

namespace {

// Consecutive areas for one guest go to its monitor in one call.
template <class Action, class Send>
void by_run(const std::vector<Action>& actions, Send send) {
  std::map<core::GuestRun, std::vector<core::AreaId>> areas;
  for (const Action& action : actions) areas[action.run].push_back(action.area);
  for (const auto& [run, ids] : areas) send(run, ids);
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// A journal that refuses is tried again with every step, and this often when nothing happens.
constexpr Duration kJournalRetry = std::chrono::milliseconds(200);

}  // namespace

void Engine::deliver(const core::Event& event) {
  const Doing doing("a step of the core");
  const bool was_refused = refused_;
  perform(core_.step(ports_.clock.now(), event));
  // What the core did not begin while its journal was in trouble.
  if (was_refused && !refused_) perform(core_.step(ports_.clock.now(), core::event::Tick{}));
  std::optional<Time> wake = core_.next_deadline();
  if (refused_) {
    const Time retry = ports_.clock.now() + kJournalRetry;
    wake = wake ? std::min(*wake, retry) : retry;
  }
  if (wake) ports_.clock.wake_at(*wake);
  if (after_step) after_step();
}

bool Engine::journal(const std::vector<core::Record>& records) {
  unwritten_.insert(unwritten_.end(), records.begin(), records.end());
  if (unwritten_.empty()) return true;
  const Result<void> written = [this] {
    const Doing doing(Doing::kJournal);
    return ports_.journal.append(unwritten_);
  }();
  if (written) {
    unwritten_.clear();
    if (std::exchange(refused_, false)) {
      core_.set_journal_trouble("");
      ports_.observer.notice(
          ports_.clock.now(),
          {core::Severity::info, "journal-works", "the journal can be written again", {}, {}});
    }
    return true;
  }
  core_.set_journal_trouble("the journal cannot be written (" + written.error().message + ")");
  if (!std::exchange(refused_, true)) {
    ports_.observer.notice(ports_.clock.now(),
                           {core::Severity::error,
                            "journal-failed",
                            "the journal cannot be written: " + written.error().message +
                                "; running applications go on, nothing is moved until it can",
                            {},
                            {}});
  }
  return false;
}

// The safe order. What stops or withdraws something is done even when the journal refuses: it makes nothing
// worse to repeat it after a restart. What hands anything over or starts anything waits for the journal.
void Engine::perform(const core::Outputs& out) {
  const bool durable = journal(out.journal);
  if (something_withheld_) core::take_back(withheld_, out);
  perform_at_once(out);
  if (durable) {
    if (something_withheld_) {
      something_withheld_ = false;
      perform_durable(std::exchange(withheld_, {}));
    }
    perform_durable(out);
  } else {
    withhold(out);
  }
  // Owned by no record: what is plugged is asked of the hypervisor after a restart.
  for (const auto& action : out.plug_vcpus) {
    ports_.hypervisor.plug_vcpus(action.run, action.app, action.count);
  }
  for (const auto& action : out.unplug_vcpus) ports_.hypervisor.unplug_vcpus(action.run, action.app);
  for (const auto& action : out.prepare) ports_.agents.ask_prepare(action);
  for (const auto& action : out.probe) ports_.hypervisor.probe(action.run);

  for (const auto& notice : out.notices) ports_.observer.notice(ports_.clock.now(), notice);
  for (const auto& report : out.reports) ports_.observer.report(ports_.clock.now(), report);
}

void Engine::perform_at_once(const core::Outputs& out) {
  const Doing doing("stopping and withdrawing");
  for (const auto& action : out.withdraw) ports_.gate.withdraw(action.app);
  for (const auto& action : out.adopt) ports_.hypervisor.adopt(action.run);
  for (const auto& action : out.fence) ports_.hypervisor.fence(action.run);
  for (const auto& action : out.state) ports_.agents.ask_state(action);
  for (const auto& action : out.stop) ports_.agents.ask_stop(action);
}

void Engine::perform_durable(const core::Outputs& out) {
  const Doing doing("handing over and starting");
  for (const auto& action : out.release) ports_.agents.ask_release(action);
  by_run(out.unplug, [&](auto run, auto& areas) { ports_.hypervisor.unplug(run, areas); });
  for (const auto& action : out.scrub) ports_.pool.scrub(action.area);
  for (const auto& action : out.need) ports_.agents.ask_need(action);
  by_run(out.plug, [&](auto run, auto& areas) { ports_.hypervisor.plug(run, areas); });
  for (const auto& action : out.engage) ports_.agents.ask_engage(action);
  for (const auto& action : out.growth) ports_.agents.answer_growth(action);
  for (const auto& action : out.start) ports_.agents.ask_start(action);
  for (const auto& action : out.route) ports_.gate.route(action.app, action.run);
  for (const auto& action : out.dump) ports_.hypervisor.dump(action.run);
  for (const auto& action : out.discard) ports_.hypervisor.discard(action.run);
  for (const auto& action : out.launch) ports_.hypervisor.launch(action.run);
}

void Engine::withhold(const core::Outputs& out) {
  append(withheld_.release, out.release);
  append(withheld_.unplug, out.unplug);
  append(withheld_.scrub, out.scrub);
  append(withheld_.need, out.need);
  append(withheld_.plug, out.plug);
  append(withheld_.engage, out.engage);
  append(withheld_.growth, out.growth);
  append(withheld_.start, out.start);
  append(withheld_.route, out.route);
  append(withheld_.dump, out.dump);
  append(withheld_.discard, out.discard);
  append(withheld_.launch, out.launch);
  something_withheld_ = true;
}

}  // namespace understudy::engine

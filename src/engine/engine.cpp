#include "engine/engine.hpp"

#include <map>

namespace understudy::engine {

namespace {

// Consecutive areas for one guest go to its monitor in one call.
template <class Action, class Send>
void by_run(const std::vector<Action>& actions, Send send) {
  std::map<core::GuestRun, std::vector<core::AreaId>> areas;
  for (const Action& action : actions) areas[action.run].push_back(action.area);
  for (const auto& [run, ids] : areas) send(run, ids);
}

}  // namespace

void Engine::deliver(const core::Event& event) {
  perform(core_.step(ports_.clock.now(), event));
  if (const auto at = core_.next_deadline()) ports_.clock.wake_at(*at);
  if (after_step) after_step();
}

bool Engine::journal(const std::vector<core::Record>& records) {
  unwritten_.insert(unwritten_.end(), records.begin(), records.end());
  if (unwritten_.empty()) return true;
  const Result<void> written = ports_.journal.append(unwritten_);
  if (written) {
    unwritten_.clear();
    core_.set_journal_trouble("");
    return true;
  }
  core_.set_journal_trouble("the journal cannot be written (" + written.error().message + ")");
  ports_.observer.notice(ports_.clock.now(),
                         {core::Severity::error, "journal-failed",
                          "the journal cannot be written: " + written.error().message +
                              "; running applications go on, nothing is moved until it can",
                          {}, {}});
  return false;
}

// The safe order. What stops or withdraws something is done even when the journal refuses: it makes nothing
// worse to repeat it after a restart. What hands anything over or starts anything waits for the journal.
void Engine::perform(const core::Outputs& out) {
  const bool durable = journal(out.journal);

  for (const auto& action : out.withdraw) ports_.gate.withdraw(action.app);
  for (const auto& action : out.adopt) ports_.hypervisor.adopt(action.run);
  for (const auto& action : out.fence) ports_.hypervisor.fence(action.run);
  for (const auto& action : out.state) ports_.agents.ask_state(action);
  for (const auto& action : out.stop) ports_.agents.ask_stop(action);
  if (durable) {
    for (const auto& action : out.release) ports_.agents.ask_release(action);
    by_run(out.unplug, [&](auto run, auto& areas) { ports_.hypervisor.unplug(run, areas); });
    for (const auto& action : out.scrub) ports_.pool.scrub(action.area);
    for (const auto& action : out.need) ports_.agents.ask_need(action);
    by_run(out.plug, [&](auto run, auto& areas) { ports_.hypervisor.plug(run, areas); });
    for (const auto& action : out.engage) ports_.agents.ask_engage(action);
    for (const auto& action : out.growth) ports_.agents.answer_growth(action);
    for (const auto& action : out.start) ports_.agents.ask_start(action);
    for (const auto& action : out.route) ports_.gate.route(action.app, action.run);
    for (const auto& action : out.discard) ports_.hypervisor.discard(action.run);
    for (const auto& action : out.launch) ports_.hypervisor.launch(action.run);
  }
  for (const auto& action : out.prepare) ports_.agents.ask_prepare(action);
  for (const auto& action : out.probe) ports_.hypervisor.probe(action.run);

  for (const auto& notice : out.notices) ports_.observer.notice(ports_.clock.now(), notice);
  for (const auto& report : out.reports) ports_.observer.report(ports_.clock.now(), report);
}

}  // namespace understudy::engine

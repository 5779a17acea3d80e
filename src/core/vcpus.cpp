// The vCPUs that applications have beyond the guests' base. Where an application serves they are plugged,
// where it is no more they are unplugged: a wish that is compared with what the hypervisor told, after every
// step. No move waits for them, no guest is fenced for their sake, and no record is kept of them: a daemon
// that was started again is told by the hypervisor what is plugged.
#include "core/state.hpp"

#include <algorithm>
#include <string>

namespace understudy::core {

namespace {

using Doing = AppVcpus::Doing;

// Beyond the limits that the port has for one request.
constexpr Duration kAnswerLimit = std::chrono::seconds(20);
constexpr Duration kRetry = std::chrono::seconds(10);

// How many of the application's vCPUs the run should have; none: the application is on its way in or out, or
// is being found out about, and they stay as they are.
std::optional<std::uint32_t> wanted(const State& state, const Application& app, GuestRun run) {
  if (app.place() != run) return 0;
  const auto* serving = app.serving();
  if (serving == nullptr || serving->unconfirmed) return std::nullopt;
  return state.setup.app(app.id).vcpus;
}

bool must_wait(const AppVcpus& held, std::uint32_t want) {
  return held.doing != Doing::nothing || held.failed_for == want;
}

std::string vcpus_text(std::uint32_t count) {
  return std::to_string(count) + (count == 1 ? " vCPU" : " vCPUs");
}

void advance_one(Step& step, Guest& guest, const Application& app) {
  const auto want = wanted(step.state, app, guest.current());
  const auto found = guest.vcpus.find(app.id);
  if (!want || (found == guest.vcpus.end() && *want == 0)) return;
  AppVcpus& held = found != guest.vcpus.end() ? found->second : guest.vcpus[app.id];
  if (held.doing == Doing::nothing && held.count == *want) {
    held.failed_for.reset();
    held.trouble.clear();
    if (*want == 0) guest.vcpus.erase(app.id);
    return;
  }
  if (must_wait(held, *want) && step.now < held.due) return;
  if (held.doing != Doing::nothing) {
    step.note(Severity::warning, "limit-passed",
              step.state.name(guest.id) + " did not " + (held.doing == Doing::plugging ? "plug" : "unplug") +
                  " the vCPUs of " + step.state.name(app.id) + " within " + format_duration(kAnswerLimit) +
                  "; asked again",
              guest.id, app.id);
  }
  // Asked again when an answer has not come: requests are performed in order, and answers are absolute.
  held.due = step.now + kAnswerLimit;
  if (*want > 0) {
    held.doing = Doing::plugging;
    step.out.plug_vcpus.push_back({guest.current(), app.id, *want});
  } else {
    held.doing = Doing::unplugging;
    step.out.unplug_vcpus.push_back({guest.current(), app.id});
  }
}

// The application's vCPUs in this run, if there is anything to be told about them. What QEMU lets go of
// counts also while its guest has been found by a new daemon and has not yet spoken to it.
AppVcpus* known(Step& step, GuestRun run, AppId app) {
  Guest* guest = step.state.living(run);
  if (guest == nullptr) return nullptr;
  const auto found = guest->vcpus.find(app);
  return found != guest->vcpus.end() ? &found->second : nullptr;
}

void failed(Step& step, AppVcpus& held, std::uint32_t wanted_count, const std::string& why, Notice notice) {
  held.failed_for = wanted_count;
  held.due = step.now + kRetry;
  if (held.trouble == why) return;  // said already
  held.trouble = why;
  step.out.notices.push_back(std::move(notice));
}

// Fewer than it should have are left, and nobody asked for that. They are given back, but not as often as its
// guest can throw them out.
bool lacks(const Step& step, AppVcpus& held, GuestRun run, AppId app) {
  const auto want = wanted(step.state, step.state.app(app), run);
  if (!want || held.count >= *want) return false;
  if (step.now < held.give_back_at) {
    held.failed_for = *want;
    held.due = held.give_back_at;
  } else {
    held.give_back_at = step.now + kRetry;
  }
  return true;
}

std::string left_text(const AppVcpus& held) {
  return "; it has " + vcpus_text(held.count) + " of them left and is given more, once in " +
         format_duration(kRetry);
}

}  // namespace

void vcpus_differ(Step& step, Guest& guest, AppId app, std::uint32_t has) {
  AppVcpus& held = guest.vcpus[app];
  const std::string had = vcpus_text(held.count);
  held.count = has;
  const bool missing = lacks(step, held, guest.current(), app);
  step.note(Severity::warning, "difference-found",
            "QEMU says that " + step.state.name(guest.id) + " has " + vcpus_text(has) + " of " +
                step.state.name(app) + ", where the table has " + had + (missing ? left_text(held) : ""),
            guest.id, app);
}

void advance_vcpus(Step& step, Guest& guest) {
  if (guest.ready() == nullptr || !guest.wanted) return;
  for (const Application& app : step.state.apps) advance_one(step, guest, app);
}

std::optional<Time> vcpus_deadline(const State& state, const Guest& guest) {
  std::optional<Time> first;
  if (guest.ready() == nullptr || !guest.wanted) return first;
  for (const auto& [id, held] : guest.vcpus) {
    const auto want = wanted(state, state.app(id), guest.current());
    if (!want || !must_wait(held, *want)) continue;
    if (!first || held.due < *first) first = held.due;
  }
  return first;
}

void handle(Step& step, const event::VcpusPlugged& event) {
  AppVcpus* held = known(step, event.run, event.app);
  if (held == nullptr) return;
  const std::uint32_t wanted_count = step.state.setup.app(event.app).vcpus;
  held->count = std::min(event.count, wanted_count);
  if (held->doing != Doing::plugging) return;  // they have been asked back meanwhile
  held->doing = Doing::nothing;
  const std::string where = step.state.name(event.app) + " on " + step.state.name(event.run.guest);
  if (held->count == wanted_count) {
    held->failed_for.reset();
    held->trouble.clear();
    step.note(Severity::info, "vcpus-plugged", vcpus_text(held->count) + " plugged for " + where,
              event.run.guest, event.app);
    return;
  }
  failed(step, *held, wanted_count, event.why_not_all,
         {Severity::warning, "vcpus-missing",
          where + " has " + std::to_string(held->count) + " of " + vcpus_text(wanted_count) +
              " of its own: " + event.why_not_all + "; tried again every " + format_duration(kRetry),
          event.run.guest, event.app});
}

void handle(Step& step, const event::VcpusUnplugged& event) {
  AppVcpus* held = known(step, event.run, event.app);
  if (held == nullptr) return;
  held->count = std::min(event.left, step.state.setup.app(event.app).vcpus);
  const bool asked = held->doing == Doing::unplugging;
  if (asked) held->doing = Doing::nothing;
  const std::string whose = " of " + step.state.name(event.app);
  const std::string& guest = step.state.name(event.run.guest);
  if (!asked && held->doing == Doing::nothing && lacks(step, *held, event.run, event.app)) {
    step.note(Severity::warning, "vcpus-missing",
              guest + " has let go of vCPUs" + whose + " without being asked" + left_text(*held),
              event.run.guest, event.app);
    return;
  }
  if (held->count == 0) {
    step.note(Severity::info, "vcpus-unplugged", "the vCPUs" + whose + " are gone from " + guest,
              event.run.guest, event.app);
    return;
  }
  if (!asked) return;
  failed(step, *held, 0, event.why_not_all,
         {Severity::warning, "vcpus-kept",
          guest + " keeps " + vcpus_text(held->count) + whose +
              " until it lets go or ends: " + event.why_not_all,
          event.run.guest, event.app});
}

void found_vcpus(Step& step, Guest& guest, const std::vector<event::PluggedVcpus>& found) {
  guest.vcpus.clear();
  for (const event::PluggedVcpus& plugged : found) {
    if (plugged.app.value >= step.state.apps.size() || plugged.count == 0) continue;
    AppVcpus held;
    held.count = plugged.count;
    guest.vcpus[plugged.app] = held;
  }
}

}  // namespace understudy::core

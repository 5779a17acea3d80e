#include "sim/describe.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace understudy::sim {

namespace {

using core::AppId;
using core::AreaId;
using core::GuestRun;

struct Namer {
  const core::Setup& setup;

  std::string operator()(GuestRun run) const { return name(setup, run); }
  std::string operator()(core::GuestId id) const { return setup.guest(id).name; }
  std::string operator()(AppId id) const { return setup.app(id).name; }
  std::string operator()(AreaId id) const { return "area " + std::to_string(id.value); }
  std::string operator()(AppId app, core::Epoch epoch) const {
    return setup.app(app).name + " (epoch " + std::to_string(epoch) + ")";
  }
};

struct EventText {
  Namer n;

  std::string operator()(const core::event::BringUp&) const { return "the operator brings everything up"; }
  std::string operator()(const core::event::BringDown&) const {
    return "the operator brings everything down";
  }
  std::string operator()(const core::event::Resume&) const { return "the daemon resumes"; }
  std::string operator()(const core::event::StartApp& e) const { return "the operator starts " + n(e.app); }
  std::string operator()(const core::event::StopApp& e) const { return "the operator stops " + n(e.app); }
  std::string operator()(const core::event::Switchover& e) const {
    return "the operator moves " + n(e.app) + (e.to ? " to " + n(*e.to) : " to its best standby");
  }
  std::string operator()(const core::event::Maintenance& e) const {
    const std::string what = e.guest ? n(*e.guest) : e.app ? n(*e.app) : std::string("everything");
    return e.lasts > Duration{} ? "hands off " + what + " for " + format_duration(e.lasts)
                                : "maintenance of " + what + " is over";
  }
  std::string operator()(const core::event::Rehearse& e) const {
    return "the operator rehearses " + n(e.app) + (e.start ? ", with its start" : "");
  }
  std::string operator()(const core::event::Proven& e) const {
    return n(e.app) + " was proven on " + n(e.on);
  }
  std::string operator()(const core::event::DrillStarted& e) const {
    return "a drill begins in " + n(e.guest);
  }
  std::string operator()(const core::event::GuestLaunched& e) const { return n(e.run) + " is launched"; }
  std::string operator()(const core::event::LaunchFailed& e) const {
    return n(e.run) + " could not be launched: " + e.why;
  }
  std::string operator()(const core::event::GuestPanicked& e) const { return n(e.run) + " panics"; }
  std::string operator()(const core::event::GuestExited& e) const {
    return "the process of " + n(e.run) + " ended: " + e.how;
  }
  std::string operator()(const core::event::GuestFenced& e) const {
    return n(e.run) + " is verified stopped: " + e.how;
  }
  std::string operator()(const core::event::GuestAdopted& e) const {
    std::vector<AreaId> areas;
    for (const auto& plugged : e.areas) areas.push_back(plugged.area);
    return n(e.run) + " is found, " +
           (!e.answers    ? "not answering"
            : e.executing ? "executing"
                          : "not executing") +
           ", with " + name(areas);
  }
  std::string operator()(const core::event::DumpDone& e) const {
    return "the memory of " + n(e.run) + (e.file.empty() ? " was not written: " + e.why_not : " was written");
  }
  std::string operator()(const core::event::StopDelayed& e) const {
    return n(e.run) + " was killed and does not end: " + e.evidence;
  }
  std::string operator()(const core::event::GuestGone& e) const { return n(e.run) + " is cleared up"; }
  std::string operator()(const core::event::ProbeAnswer& e) const {
    return "the kernel of " + n(e.run) + (e.kernel_answers ? " answers" : " does not answer");
  }
  std::string operator()(const core::event::AreaPlugged& e) const {
    return n(e.area) + " is plugged into " + n(e.run);
  }
  std::string operator()(const core::event::PlugFailed& e) const {
    return n(e.area) + " could not be plugged into " + n(e.run) + ": " + e.why;
  }
  std::string operator()(const core::event::AreaUnplugged& e) const {
    return n(e.area) + " is unplugged from " + n(e.run);
  }
  std::string operator()(const core::event::VcpusPlugged& e) const {
    return std::to_string(e.count) + " vCPUs of " + n(e.app) + " are in " + n(e.run) +
           (e.why_not_all.empty() ? "" : ", no more: " + e.why_not_all);
  }
  std::string operator()(const core::event::VcpusUnplugged& e) const {
    return std::to_string(e.left) + " vCPUs of " + n(e.app) + " are left in " + n(e.run) +
           (e.why_not_all.empty() ? "" : ": " + e.why_not_all);
  }
  std::string operator()(const core::event::GuestSeen& e) const {
    std::vector<AreaId> areas;
    for (const auto& plugged : e.areas) areas.push_back(plugged.area);
    std::string text = n(e.run) + " is looked at: it has " + name(areas);
    for (const auto& each : e.vcpus.value_or(std::vector<core::event::PluggedVcpus>{}))
      text += ", " + std::to_string(each.count) + " vCPUs of " + n(each.app);
    return text;
  }
  std::string operator()(const core::event::UnplugFailed& e) const {
    return n(e.area) + " could not be unplugged from " + n(e.run) + ": " + e.why;
  }
  std::string operator()(const core::event::AreaScrubbed& e) const { return n(e.area) + " is zeroed"; }
  std::string operator()(const core::event::ScrubFailed& e) const {
    return n(e.area) + " could not be zeroed: " + e.why;
  }
  std::string operator()(const core::event::AddressUnreachable& e) const {
    return "clients of " + n(e.app) + " cannot be led to " + n(e.run) + ": " + e.why;
  }
  std::string operator()(const core::event::AddressRouted& e) const {
    return "the address of " + n(e.app) + " leads to " + n(e.run);
  }
  std::string operator()(const core::event::AgentGreeted& e) const { return n(e.run) + "'s agent greets"; }
  std::string operator()(const core::event::AgentBeat& e) const { return n(e.run) + "'s agent beats"; }
  std::string operator()(const core::event::AgentLost& e) const {
    return n(e.run) + "'s agent is lost: " + e.why;
  }
  std::string operator()(const core::event::AgentMisbehaved& e) const {
    return n(e.run) + "'s agent misbehaves: " + e.what;
  }
  std::string operator()(const core::event::NeedStated& e) const {
    return n(e.run) + " says that " + n(e.app, e.epoch) + " lacks " + format_size(e.missing_bytes);
  }
  std::string operator()(const core::event::AreasEngaged& e) const {
    return n(e.run) + " confirms the memory for " + n(e.app, e.epoch);
  }
  std::string operator()(const core::event::EngageFailed& e) const {
    return n(e.run) + " cannot use the memory for " + n(e.app, e.epoch) + ": " + e.why;
  }
  std::string operator()(const core::event::AppServing& e) const {
    return n(e.app, e.epoch) + " serves on " + n(e.run);
  }
  std::string operator()(const core::event::AppStartFailed& e) const {
    return n(e.app, e.epoch) + " could not be started on " + n(e.run) + ": " + e.why;
  }
  std::string operator()(const core::event::AppRestarting& e) const {
    return n(e.app, e.epoch) + " is restarted in place on " + n(e.run) + ": " + e.cause;
  }
  std::string operator()(const core::event::AppWantsMemory& e) const {
    return n(e.app, e.epoch) + " on " + n(e.run) + " ran out of memory and asks for " +
           format_size(e.more_bytes) + " more";
  }
  std::string operator()(const core::event::AppFaulted& e) const {
    return n(e.app, e.epoch) + " is given up by " + n(e.run) + ": " + e.cause;
  }
  std::string operator()(const core::event::AppsStated& e) const {
    std::string text = n(e.run) + "'s agent says what runs:";
    for (const auto& app : e.apps) {
      text += " " + n(app.app, app.epoch) +
              (!app.fault.empty() ? " failed"
               : app.ending       ? " is being ended"
               : app.restarting   ? " is being restarted"
               : app.runs         ? " runs"
                                  : " does not run");
    }
    return e.apps.empty() ? text + " nothing" : text;
  }
  std::string operator()(const core::event::AppStopped& e) const {
    return n(e.app, e.epoch) + " has ended on " + n(e.run);
  }
  std::string operator()(const core::event::StopFailed& e) const {
    return n(e.app, e.epoch) + " could not be ended on " + n(e.run) + ": " + e.why;
  }
  std::string operator()(const core::event::AreasReleased& e) const {
    return n(e.run) + " has let go of " + name(e.areas) + " of " + n(e.app, e.epoch) +
           (e.why_not_all.empty() ? "" : ", not of the rest: " + e.why_not_all);
  }
  std::string operator()(const core::event::Tick&) const { return "time passes"; }
};

struct RecordText {
  Namer n;

  std::string operator()(const core::AreaRecord& r) const {
    return n(r.area) + " " + core::area_state_name(r.state) + (r.user ? " of " + n(*r.user) : "") +
           (r.in ? " in " + n(*r.in) : "");
  }
  std::string operator()(const core::GuestRecord& r) const {
    return n(GuestRun{r.guest, r.run}) + " " + core::guest_durable_name(r.state);
  }
  std::string operator()(const core::AppRecord& r) const {
    return n(r.app, r.epoch) + " " + core::app_durable_name(r.state) + (r.in ? " on " + n(*r.in) : "");
  }
};

// One line for all areas that one guest is asked the same thing about.
template <class Action>
void put_together(const Namer& n, const std::vector<Action>& actions, const std::string& verb,
                  const std::string& where, std::vector<std::string>& lines) {
  std::map<GuestRun, std::vector<AreaId>> by_run;
  for (const Action& action : actions) by_run[action.run].push_back(action.area);
  for (const auto& [run, areas] : by_run) lines.push_back(verb + name(areas) + where + n(run));
}

std::vector<AreaId> ids(const std::vector<core::action::EngagedArea>& areas) {
  std::vector<AreaId> found;
  for (const auto& area : areas) found.push_back(area.area);
  return found;
}

}  // namespace

std::string name(const core::Setup& setup, GuestRun run) {
  return setup.guest(run.guest).name + " (run " + std::to_string(run.run) + ")";
}

std::string name(const std::vector<AreaId>& areas) {
  if (areas.empty()) return "no area";
  std::vector<std::uint32_t> sorted;
  for (const AreaId id : areas) sorted.push_back(id.value);
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < sorted.size();) {
    std::size_t last = i;
    while (last + 1 < sorted.size() && sorted[last + 1] == sorted[last] + 1) ++last;
    parts.push_back(i == last ? std::to_string(sorted[i])
                              : std::to_string(sorted[i]) + "-" + std::to_string(sorted[last]));
    i = last + 1;
  }
  std::string text = sorted.size() == 1 ? "area " : "areas ";
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " and " : ", ";
    text += parts[i];
  }
  return text;
}

std::string describe(const core::Setup& setup, const core::Event& event) {
  return std::visit(EventText{{setup}}, event);
}

std::string describe(const core::Setup& setup, const core::Record& record) {
  return std::visit(RecordText{{setup}}, record);
}

std::vector<std::string> describe(const core::Setup& setup, const core::Outputs& out) {
  const Namer n{setup};
  std::vector<std::string> lines;
  for (const auto& a : out.withdraw) lines.push_back("withdraw the address of " + n(a.app));
  for (const auto& a : out.adopt) lines.push_back("look for the process of " + n(a.run));
  for (const auto& a : out.fence) lines.push_back("fence " + n(a.run));
  for (const auto& a : out.state) lines.push_back("ask " + n(a.run) + " which applications run");
  for (const auto& a : out.stop) lines.push_back("ask " + n(a.run) + " to end " + n(a.app, a.epoch));
  for (const auto& a : out.release) {
    lines.push_back("ask " + n(a.run) + " to let go of " + name(a.areas) + " of " + n(a.app, a.epoch) +
                    " within " + format_duration(a.limit));
  }
  put_together(n, out.unplug, "unplug ", " from ", lines);
  std::vector<AreaId> scrubbed;
  for (const auto& a : out.scrub) scrubbed.push_back(a.area);
  if (!scrubbed.empty()) lines.push_back("zero " + name(scrubbed));
  for (const auto& a : out.need) {
    lines.push_back("ask " + n(a.run) + " what it lacks to give " + n(a.app, a.epoch) + " " +
                    format_size(a.memory_bytes));
  }
  put_together(n, out.plug, "plug ", " into ", lines);
  for (const auto& a : out.engage) {
    lines.push_back("ask " + n(a.run) + " to confirm " + name(ids(a.areas)) + " for " + n(a.app, a.epoch));
  }
  for (const auto& a : out.growth) {
    lines.push_back("tell " + n(a.run) + " that " + n(a.app, a.epoch) +
                    (a.areas.empty()
                         ? " gets no more memory: " + a.why_not
                         : " got " + name(a.areas) + " and may use " + format_size(a.memory_limit_bytes)));
  }
  for (const auto& a : out.start) {
    lines.push_back("start " + n(a.app, a.epoch) + " on " + n(a.run) + " with " + name(a.areas) +
                    " and a limit of " + format_size(a.memory_limit_bytes));
  }
  for (const auto& a : out.route) lines.push_back("lead the address of " + n(a.app) + " to " + n(a.run));
  for (const auto& a : out.plug_vcpus) {
    lines.push_back("plug " + std::to_string(a.count) + " vCPUs of " + n(a.app) + " into " + n(a.run));
  }
  for (const auto& a : out.unplug_vcpus) {
    lines.push_back("unplug the vCPUs of " + n(a.app) + " from " + n(a.run));
  }
  for (const auto& a : out.dump) lines.push_back("write the base memory of " + n(a.run) + " to a file");
  for (const auto& a : out.discard) lines.push_back("clear up after " + n(a.run));
  for (const auto& a : out.launch) lines.push_back("launch " + n(a.run));
  for (const auto& a : out.prepare) lines.push_back("let " + n(a.run) + " read the files of " + n(a.app));
  for (const auto& a : out.probe) lines.push_back("ask whether the kernel of " + n(a.run) + " lives");
  return lines;
}

}  // namespace understudy::sim

#pragma once

#include "core/events.hpp"
#include "core/records.hpp"
#include "core/report.hpp"

#include <optional>
#include <string>
#include <vector>

// What the core wants done. One step yields one Outputs value; engine/engine.cpp performs its lists in the
// order in which they stand here, which is the safe one.
namespace understudy::core {

namespace action {

struct Withdraw {  // the address leads nowhere from now on; its connections are cut
  AppId app;
};
struct Adopt {  // find the process of a run that a former daemon launched; answered by GuestAdopted or
                // GuestExited
  GuestRun run;
};
struct AskState {  // which applications run in it? answered by AppsStated
  GuestRun run;
};
struct Fence {  // make certain that this run executes nothing any more; answered by GuestFenced (or
                // GuestExited)
  GuestRun run;
};
struct Probe {  // does the kernel live? answered by ProbeAnswer within the port's limit
  GuestRun run;
};
struct AskStop {
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
};
struct AskRelease {
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::vector<AreaId> areas;
  Duration limit{};
};
struct Unplug {
  GuestRun run;
  AreaId area;
};
struct Scrub {
  AreaId area;
};
struct AskNeed {  // compute what the application needs beyond what the guest has
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  Bytes memory_bytes = 0;  // what it should be able to use
};
struct Plug {
  GuestRun run;
  AreaId area;
};
struct EngagedArea {
  AreaId area;
  std::uint64_t guest_address = 0;
  Bytes bytes = 0;
};
struct AskEngage {  // confirm these areas from inside: online and counted
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::vector<EngagedArea> areas;
};
struct AskStart {
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  Bytes memory_limit_bytes = 0;
  std::vector<AreaId> areas;  // those it may count as its own
};
struct AnswerGrowth {  // to AppWantsMemory: areas were added and confirmed, or (none) there is no more to
                       // have
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  Bytes memory_limit_bytes = 0;  // the new limit; unchanged when there is no more
  std::vector<AreaId> areas;
  std::string why_not;
};
struct AskPrepare {  // on a standby: read the application's files in, so that a start finds them in memory
  GuestRun run;
  AppId app;
};
struct Route {  // the address leads to this guest from now on
  AppId app;
  GuestRun run;
};
struct PlugVcpus {  // so many of the application's vCPUs are to be in this run; answered by VcpusPlugged
  GuestRun run;
  AppId app;
  std::uint32_t count = 0;
};
struct UnplugVcpus {  // all of the application's; answered by VcpusUnplugged
  GuestRun run;
  AppId app;
};
struct Dump {  // write the base memory of a fenced run to a file; answered by DumpDone, always
  GuestRun run;
};
struct Discard {  // end the process of a fenced run and remove its files; answered by GuestGone
  GuestRun run;
};
struct Launch {  // answered by GuestLaunched or LaunchFailed
  GuestRun run;
};

}  // namespace action

enum class Severity { info, warning, error };

// A line of the event log.
struct Notice {
  Severity severity = Severity::info;
  std::string kind;  // stable word for scripts: "guest-panicked", "takeover-done", ...
  std::string text;  // a sentence for a person
  std::optional<GuestId> guest;
  std::optional<AppId> app;
};

struct Outputs {
  std::vector<Record> journal;             // 1. durable before anything below happens
  std::vector<action::Withdraw> withdraw;  // 2. no client reaches what is about to go
  std::vector<action::Adopt> adopt;
  std::vector<action::Fence> fence;  // 3. stop, then hand over
  std::vector<action::AskState> state;
  std::vector<action::AskStop> stop;
  std::vector<action::AskRelease> release;
  std::vector<action::Unplug> unplug;
  std::vector<action::Scrub> scrub;  // 4. between trust domains only, before it is plugged
  std::vector<action::AskNeed> need;
  std::vector<action::Plug> plug;  // 5. into the guest
  std::vector<action::AskEngage> engage;
  std::vector<action::AnswerGrowth> growth;
  std::vector<action::AskStart> start;  // 6. only ever after the guest confirmed its memory
  std::vector<action::Route> route;     // 7. clients last
  std::vector<action::AskPrepare> prepare;
  std::vector<action::Probe> probe;
  // 7b. vCPUs never delay anybody: after the clients where they come, after the areas where they go.
  std::vector<action::PlugVcpus> plug_vcpus;
  std::vector<action::UnplugVcpus> unplug_vcpus;
  std::vector<action::Dump> dump;
  std::vector<action::Discard> discard;  // 8. clearing up and coming back never delay a takeover
  std::vector<action::Launch> launch;
  std::vector<Notice> notices;
  std::vector<TakeoverReport> reports;
};

// Takes out of `earlier`, which was not performed yet, what `later` overtakes: requests to a guest that is
// fenced or has ended, the start of an application that is ended, a route to one that is withdrawn, the
// release and the unplugging of an area that has been let go of.
void take_back(Outputs& earlier, const Outputs& later);

}  // namespace understudy::core

#pragma once

#include "base/units.hpp"
#include "core/definition.hpp"
#include "core/ids.hpp"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace understudy::core {

enum class FaultKind {
  os_panic,       // the guest's kernel panics
  os_hang,        // its QEMU is stopped (SIGSTOP): nothing in it runs any more
  vmm_kill,       // its QEMU is killed
  app_exit,       // the application's processes are killed
  app_crash,      // the application's processes get a SIGSEGV, as after an error of their own
  app_hang,       // the application's processes are stopped
  agent_silence,  // its agent is silent for a while, and the kernel lives: no fault of the guest at all
};

}  // namespace understudy::core

// Everything the core can be told. Ports translate what they see into these, engines deliver them one by one.
namespace understudy::core::event {

// ---- the operator (names were resolved by the control layer) ----
struct BringUp {};    // launch every guest, start every application
struct BringDown {};  // end every application and guest
struct Resume {};     // the daemon was started again over a journal: find out what is
struct StartApp {     // start an application that was given up or stopped
  AppId app;
};
struct StopApp {  // end it cleanly and leave it ended; it gives back what it has
  AppId app;
};
struct Switchover {  // planned: stop cleanly and start on the other guest
  AppId app;
  std::optional<GuestId> to;  // none: the best standby
  // Its guest may be ended for it, although others serve there. Else the order is given up instead, and the
  // application started again where it was.
  bool may_fence = false;
};
struct Maintenance {  // hands off a guest or an application for a while; it always ends by itself
  std::optional<GuestId> guest;
  std::optional<AppId> app;
  Duration lasts{};  // 0: it is over
};
struct Rehearse {  // attach spare memory to the standby for real, and take it back
  AppId app;
  bool start = false;  // and start the application there, in isolation
};
struct Proven {  // a former daemon's rehearsal passed, so long ago
  AppId app;
  Duration ago{};
  bool start = false;
  GuestId on;
  Duration took{};
  Bytes bytes = 0;
  std::string image;
};
struct DrillStarted {  // a fault is about to be caused on purpose; only dates the fault's detection
  GuestId guest;
  FaultKind kind;
};

// ---- the hypervisor port ----
struct GuestLaunched {  // the process runs and its monitor answers; the OS boots
  GuestRun run;
  // Tells what it boots (kernel, agent, programs) from what it boots another time; empty: not known.
  std::string image{};
};
struct LaunchFailed {  // no process is left
  GuestRun run;
  std::string why;
};
// `console`, wherever it stands: the last lines that the guest wrote on its console, fit to be shown; empty:
// none, or an earlier event had them.
struct GuestPanicked {  // pvpanic; the hypervisor says it has paused the vCPUs, which a fence still verifies
  GuestRun run;
  std::string console{};
};
struct GuestExited {  // the process is gone without being asked: verified stopped
  GuestRun run;
  std::string how;  // "killed by signal 9", "exit status 1: ..."
  std::string console{};
};
struct GuestFenced {  // answer to Fence: verified, no instruction of this run can execute any more
  GuestRun run;
  std::string how;
  std::string console{};
};
struct DumpDone {  // answer to Dump
  GuestRun run;
  std::string file;  // where the guest's base memory was written; empty: nowhere
  std::string why_not;
};
struct PluggedArea {
  AreaId area;
  std::uint64_t guest_address = 0;
};
struct PluggedVcpus {
  AppId app;
  std::uint32_t count = 0;
};
struct GuestAdopted {  // answer to Adopt: the process of this run lives (GuestExited: it does not)
  GuestRun run;
  bool executing = false;  // its vCPUs run, says its monitor; false: they are paused, or it does not say
  std::vector<PluggedArea> areas;
  std::vector<PluggedVcpus> vcpus{};  // of applications, beyond the guest's base
  bool answers = true;  // its monitor does. false: nothing above is known; said again when it answers
  // What this run was started with; none: nothing is known of it, and it is taken for what the setup says. An
  // empty trust domain is not known either.
  std::optional<Definition> definition{};
  std::vector<Difference> outdated{};  // in what else it is of an older definition, and in that
  // Applications with an address for which this run has no port: they can serve where they are, but no client
  // reaches them here.
  std::vector<AppId> no_port_for{};
  std::string image{};  // as in GuestLaunched
};
struct StopDelayed {  // its process was killed (for a fence, a discard or another reason) and still exists;
                      // said again now and then, until the answer comes
  GuestRun run;
  std::string evidence;  // "process 12 ...: thread 13 (CPU 0/KVM) is in state D, ..."
};
struct GuestGone {  // answer to Discard: its process and its files are gone
  GuestRun run;
};
struct ProbeAnswer {  // answer to Probe
  GuestRun run;
  bool kernel_answers = false;  // the guest's kernel answered a packet: it lives, whatever its agent does
  std::string evidence;         // for the event log: "no answer from the kernel, QEMU is stopped (state T)"
};
struct AreaPlugged {  // the device is in; the OS has not confirmed anything yet
  GuestRun run;
  AreaId area;
  std::uint64_t guest_address = 0;  // where in the guest's physical address space, bytes
};
struct PlugFailed {  // nothing of the area is in the guest
  GuestRun run;
  AreaId area;
  std::string why;
  // Whether its kernel may have seen the device. Else the host could not do its part (no descriptor, no
  // right, no slot, refused by the hypervisor), and the guest is as well as before.
  bool tried_in_guest = false;
};
struct AreaUnplugged {  // DEVICE_DELETED was seen and the backing is unmapped
  GuestRun run;
  AreaId area;
};
struct UnplugFailed {  // it is in the guest as before
  GuestRun run;
  AreaId area;
  std::string why;
  bool tried_in_guest = true;  // false: the host refused before the guest was asked
};

struct VcpusPlugged {  // answer to PlugVcpus, always
  GuestRun run;
  AppId app;
  std::uint32_t count = 0;  // so many of the application's are in this run now
  std::string why_not_all;
};
struct VcpusUnplugged {  // answer to UnplugVcpus, always; and unasked when a guest lets go late
  GuestRun run;
  AppId app;
  std::uint32_t left = 0;  // so many of the application's are still in this run
  std::string why_not_all;
};

// Unasked, now and then while nothing is on its way in or out: what is really plugged into it, says the
// hypervisor.
struct GuestSeen {
  GuestRun run;
  std::vector<PluggedArea> areas;
  std::optional<std::vector<PluggedVcpus>> vcpus;  // of applications; none: that could not be found out
  // What the hypervisor has told of it lately that no guest of ours has a reason to cause; empty: nothing.
  std::string unexpected{};
};

// ---- the pool port ----
struct AreaScrubbed {
  AreaId area;
};
struct ScrubFailed {
  AreaId area;
  std::string why;
};

// ---- the address gate ----
struct AddressRouted {  // clients reach the application on this run from now on
  AppId app;
  GuestRun run;
};

struct AddressUnreachable {  // it serves, says its guest, but no client could be served on this run: they are
                             // not led there; tried again by the gate, which says AddressRouted when it can
                             // be
  AppId app;
  GuestRun run;
  std::string why;
};

// ---- agents; untrusted, and already checked for form by the agent link ----
struct MemoryReport {
  Bytes total_bytes = 0;      // MemTotal
  Bytes available_bytes = 0;  // MemAvailable
};
struct AgentGreeted {
  GuestRun run;
  MemoryReport memory;
};
struct AgentBeat {
  GuestRun run;
  MemoryReport memory;
};
struct AgentLost {  // its channel closed; the guest may be well
  GuestRun run;
  std::string why;
};
struct AgentMisbehaved {  // sent something that no agent of ours sends
  GuestRun run;
  std::string what;
};
struct NeedStated {  // what the guest's OS computed for the application
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  Bytes missing_bytes = 0;  // of plugged memory, its struct pages included; 0: what the guest has is enough
};
struct AreasEngaged {  // blocks online, MemTotal grown
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  MemoryReport memory;
};
struct EngageFailed {
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::string why;
};
struct AppServing {  // started and passed its first health check
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  Bytes base_use_bytes = 0;          // memory it uses of the guest's base
  std::vector<AreaId> areas_in_use;  // which areas it uses
};
struct AppStartFailed {  // nothing of it runs
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::string why;
  std::string evidence{};      // last lines of its output
  bool configuration = false;  // nothing but another configuration helps: no other guest is tried
};
struct AppRestarting {  // a recoverable fault, being handled in the guest
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::string cause;
  std::uint32_t attempt = 0;
  Duration delay{};     // until its next start
  bool ending = false;  // killed, and not ended yet: what is done about it follows when it has
};
struct AppWantsMemory {  // ended for lack of memory; asks for more before it is restarted in place
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  Bytes more_bytes = 0;
};
struct AppFaulted {  // unrecoverable: the guest gives it up. Nothing of it runs, if the guest speaks the
                     // truth.
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::string cause;           // "killed by signal 9 (SIGKILL), 3 restarts in 60 s used up"
  std::string evidence;        // last lines of its output
  bool configuration = false;  // as of AppStartFailed
};
// What an agent says of one application, asked by a daemon that was started again.
struct AppStated {
  AppId app;
  Epoch epoch = 0;
  bool runs = false;        // started (and perhaps still on its way to its first passed health check)
  bool restarting = false;  // a recoverable fault is being handled
  std::string fault;        // given up, and why; empty: not given up
  bool ending = false;      // it runs, but was asked to end: it starts no more under this epoch
};
struct AppsStated {  // answer to AskState; an application that is not listed does not run there
  GuestRun run;
  std::vector<AppStated> apps;
};
struct AppStopped {  // answer to AskStop: no process of it is left
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
};
struct StopFailed {  // processes of it do not end, although killed: asked to end, or given up by its guest
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::string why;
};
struct AreasReleased {  // answer to AskRelease: these blocks are offline; the rest could not be
  GuestRun run;
  AppId app;
  Epoch epoch = 0;
  std::vector<AreaId> areas;
  std::string why_not_all;  // empty: all of them
};

// ---- time ----
struct Tick {};

}  // namespace understudy::core::event

namespace understudy::core {

using event::MemoryReport;

using Event = std::variant<
    event::BringUp, event::BringDown, event::Resume, event::StartApp, event::StopApp, event::Switchover,
    event::Maintenance, event::Rehearse, event::Proven, event::DrillStarted, event::GuestLaunched,
    event::LaunchFailed, event::GuestPanicked, event::GuestExited, event::GuestFenced, event::GuestAdopted,
    event::DumpDone, event::GuestGone, event::StopDelayed, event::ProbeAnswer, event::AreaPlugged,
    event::PlugFailed, event::AreaUnplugged, event::UnplugFailed, event::VcpusPlugged, event::VcpusUnplugged,
    event::GuestSeen, event::AreaScrubbed, event::ScrubFailed, event::AddressRouted,
    event::AddressUnreachable, event::AgentGreeted, event::AgentBeat, event::AgentLost,
    event::AgentMisbehaved, event::NeedStated, event::AreasEngaged, event::EngageFailed, event::AppServing,
    event::AppStartFailed, event::AppRestarting, event::AppWantsMemory, event::AppFaulted, event::AppsStated,
    event::AppStopped, event::StopFailed, event::AreasReleased, event::Tick>;

}  // namespace understudy::core

#pragma once

#include "core/events.hpp"
#include "core/records.hpp"
#include "sim/shape.hpp"
#include "sim/timeline.hpp"

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

// The truth. It knows nothing of what the core believes.
namespace understudy::sim {

// An application inside one run of a guest.
struct AppInside {
  bool exists = false;  // processes of it are there, or its agent is about to start them again
  bool serving = false;
  bool wants_memory = false;  // killed for lack of memory, waiting for an answer
  bool restarting = false;    // ended by a recoverable fault, and not ready again yet
  bool ending = false;        // asked to end; processes of it are still there
  bool undying = false;       // killed; processes of it stay there until their guest ends
  bool stray = false;         // a former agent started it, and this one knows nothing of it
  bool start_failed = false;  // the first start of this epoch; said again to whoever asks for it again
  core::Epoch epoch = 0;      // newest that its agent has seen
  core::Epoch forgotten = 0;  // newest that a former agent had seen
  core::Epoch ended = 0;      // newest that it was asked to end: that one starts no more
  Bytes limit_bytes = 0;
  std::uint32_t restarts = 0;
  std::vector<core::AreaId> areas;  // that it may count as its own
  std::string fault;                // why its agent gave it up; empty: it did not
};

// One guest: its present or last run.
struct Vm {
  core::GuestRun run;
  core::Definition definition;  // what it was started with, whatever a later file says
  bool process = false;         // QEMU exists
  bool launched = false;        // the launch was answered
  bool fenced = false;          // the hypervisor says that it is stopped for good; what holds it is below
  bool booted = false;          // its agent has greeted
  bool panicked = false;
  bool panic_told = false;   // by pvpanic: QEMU has paused it and says why
  bool hung = false;         // vCPUs stuck
  bool vmm_stopped = false;  // SIGSTOP of QEMU
  bool paused = false;       // QEMU's own state: only a command of its monitor ends that
  bool suspended =
      false;  // its OS suspended itself; an alarm of its clock wakes it, whatever QEMU calls that
  bool agent_silent = false;             // the agent's loop is stuck; the kernel and applications go on
  std::array<std::uint32_t, 3> stuck{};  // how often it was hung, stopped, its agent silent
  std::uint32_t linked = 0;              // the life of the daemon that its agent talks to
  std::vector<AppInside> apps;
  std::vector<std::uint32_t> vcpus;              // per application, beyond the base
  std::vector<std::function<void()>> for_vmm;    // waits until QEMU goes on
  std::vector<std::function<void()>> for_cpu;    // waits until the vCPUs go on
  std::vector<std::function<void()>> for_agent;  // waits until the agent goes on
  Channel to_monitor;
  Channel from_monitor;
  Channel to_agent;
  Channel from_agent;

  // Whatever is in it might execute, now or later: only a fence or the end of the process rules that out.
  [[nodiscard]] bool may_execute() const { return process && !fenced; }
  [[nodiscard]] bool vmm_runs() const { return process && !vmm_stopped; }
  // It really does, whatever anybody said of it.
  [[nodiscard]] bool executes() const { return vmm_runs() && !paused && !suspended && !panicked && !hung; }
  [[nodiscard]] bool agent_runs() const { return executes() && booted && !agent_silent; }
};

struct AreaTruth {
  std::optional<core::GuestRun> in;  // mapped there; also into a stopped run until its process ends
  bool online = false;               // its OS uses it
  bool confirmed = false;            // the host was told so
  std::optional<core::AppId> engaged_for;
  std::string contents;  // trust domain that wrote to it last; empty: all zeroes
  // Its guest ejected the device by itself. The hypervisor's process has it mapped until it is told to let
  // go.
  std::optional<core::GuestRun> let_go_by;
  bool half_zeroed = false;  // zeroing has begun, and has not come to its end
  std::uint64_t address = 0;

  [[nodiscard]] bool usable_in(core::GuestRun run) const { return in == run && let_go_by != run; }
};

// Thrown out of a port: the daemon dies in the middle of a step.
struct DaemonDied {};

// Where the events go that the simulated ports and guests produce.
using Deliver = std::function<void(const core::Event&)>;

class World {
 public:
  World(Shape shape, std::uint64_t seed);

  Shape shape;
  Timeline timeline;
  Random random;
  std::vector<Vm> vms;
  std::vector<AreaTruth> areas;
  std::vector<std::optional<core::GuestRun>> routes;             // per application
  Deliver deliver;                                               // set by whoever listens; empty: nobody does
  std::function<void(const std::string&)> trace;                 // empty: not wanted
  std::function<void(core::AppId, core::GuestRun)> app_started;  // for the checkers
  std::function<void(core::AreaId, core::GuestRun)> area_mapped;

  [[nodiscard]] Time now() const { return timeline.now(); }
  [[nodiscard]] const core::Setup& setup() const { return shape.setup; }
  [[nodiscard]] Vm& vm(core::GuestId id) { return vms[id.value]; }
  [[nodiscard]] const Vm& vm(core::GuestId id) const { return vms[id.value]; }
  // The machine of this run, if it is the guest's present one.
  [[nodiscard]] Vm* living(core::GuestRun run);
  [[nodiscard]] AreaTruth& area(core::AreaId id) { return areas[id.value]; }
  // The former run of whatever memory or application may still execute.
  [[nodiscard]] bool may_execute(core::GuestRun run) const;
  // What its agent says to anybody, or to this application, whose own memory is left to it.
  [[nodiscard]] core::MemoryReport memory(core::GuestId id,
                                          std::optional<core::AppId> asking = std::nullopt) const;
  // What the guest's machine was started with; what its next one will be, while there is none.
  [[nodiscard]] const core::Definition& definition(core::GuestId id) const;
  [[nodiscard]] const std::string& domain(core::GuestId id) const { return definition(id).trust_domain; }
  // Somebody edits the configuration, which the next daemon reads.
  void change_file();

  // A draw that is now and then ten times as long.
  [[nodiscard]] Duration takes(Span span);
  void say(const std::string& text) {
    if (trace) trace(text);
  }

  // Runs `what` in QEMU, in the guest's OS or in its agent after `delay`: at once if that runs then, when it
  // goes on if it is stopped or stuck, never if this run is over.
  void in_vmm(core::GuestRun run, Duration delay, std::function<void()> what);
  // The same, after everything that was sent to its monitor before.
  void in_monitor(core::GuestRun run, Duration delay, std::function<void()> what);
  void in_guest(core::GuestRun run, Duration delay, std::function<void()> what);
  void in_agent(core::GuestRun run, Duration delay, std::function<void()> what);
  // The event leaves the hypervisor (or the agent) now and reaches the daemon some time later.
  void from_monitor(core::GuestRun run, core::Event event);
  void from_agent(core::GuestRun run, core::Event event);
  // To the daemon after `delay`, on no channel. Lost when the daemon that waits for it is gone.
  void post(Duration delay, core::Event event);
  void hand_over(const core::Event& event);

  // ---- the life of machines; ports and faults use these ----
  void boot(core::GuestRun run);
  void stopped_for_good(Vm& vm);  // fenced or dead: nothing waits for it to go on
  void kill_vmm(core::GuestId id, const std::string& how);
  void end_process(Vm& vm);                          // and say nothing of it
  void suspend(core::GuestRun run, Duration alarm);  // by its own OS
  // Root in it ejects what it was given. `seen`: the hypervisor is told, and the daemon by it.
  void eject(core::GuestRun run, core::AreaId area, bool seen);
  void eject_vcpu(core::GuestRun run, core::AppId app, bool seen);
  // The hypervisor's process unmaps an area whose device is gone, and says so.
  void unmap(core::GuestRun run, core::AreaId area);
  void go_on(Vm& vm);  // whatever was stuck and is not any more
  void start_beating(core::GuestRun run);
  // The daemon's end of the channel says hello; the agent says who it is and where each application stands.
  void greet(core::GuestRun run);

  // By how much the daemon's clock has jumped ahead. It is a monotonic one: it never goes back.
  Duration clock_ahead{};
  // Until then the daemon is not let run (stopped, or its host was): what arrives waits.
  Time stalled_until{};
  // Until then the host refuses whatever takes a descriptor.
  Time host_refuses_until{};
  [[nodiscard]] bool host_refuses() const { return now() < host_refuses_until; }
  // Counts the lives of the daemon: what was on its way to a former one is lost. None is up in between.
  std::uint32_t daemon = 0;
  bool daemon_up = false;
  // Every request of the daemon passes here. At the chosen one (counted from 1) it dies.
  void kill_point() {
    if (++points == die_at) throw DaemonDied{};
  }
  [[nodiscard]] bool dies_next() const { return points + 1 == die_at; }
  std::uint64_t points = 0;
  std::uint64_t die_at = 0;

 private:
  void beat(core::GuestRun run);
};

}  // namespace understudy::sim

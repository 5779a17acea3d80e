#pragma once

#include "core/setup.hpp"
#include "sim/random.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace understudy::sim {

// How long things take.
struct Timing {
  Span launch{std::chrono::milliseconds(25), std::chrono::milliseconds(60)};
  Span boot{std::chrono::milliseconds(300), std::chrono::milliseconds(1500)};
  Span monitor{std::chrono::microseconds(100), std::chrono::milliseconds(4)};  // one way to or from QEMU
  Span agent{std::chrono::microseconds(200), std::chrono::milliseconds(6)};    // one way to or from an agent
  Span fence{std::chrono::milliseconds(1), std::chrono::milliseconds(15)};
  Span probe{std::chrono::milliseconds(50), std::chrono::milliseconds(120)};
  Span plug{std::chrono::milliseconds(1), std::chrono::milliseconds(15)};
  Span unplug{std::chrono::milliseconds(5), std::chrono::milliseconds(60)};
  Span vcpu{std::chrono::milliseconds(2), std::chrono::milliseconds(50)};
  Span discard{std::chrono::milliseconds(10), std::chrono::milliseconds(200)};
  Span online{std::chrono::milliseconds(20), std::chrono::milliseconds(150)};
  Span start{std::chrono::milliseconds(50), std::chrono::milliseconds(500)};
  Span stop{std::chrono::milliseconds(20), std::chrono::milliseconds(400)};
  Span release{std::chrono::milliseconds(50), std::chrono::milliseconds(600)};
  Span scrub{std::chrono::milliseconds(20), std::chrono::milliseconds(100)};
  Span route{std::chrono::microseconds(50), std::chrono::milliseconds(2)};
  Duration beat = std::chrono::milliseconds(50);
  double slow = 0.01;  // odds that something takes ten times as long
};

// How often a thing that is asked for goes wrong.
struct Odds {
  double launch_fails = 0;
  double boot_hangs = 0;
  double fence_slow = 0;    // takes seconds
  double plug_fails = 0;    // tried in the guest
  double plug_refused = 0;  // by the host: the guest never sees it
  double plug_silent = 0;
  double unplug_fails = 0;
  double unplug_refused = 0;  // by the host
  double need_silent = 0;
  double engage_fails = 0;
  double engage_silent = 0;
  double start_fails = 0;
  double start_hangs = 0;
  double stop_fails = 0;
  double stop_hangs = 0;
  double release_partial = 0;
  double release_hangs = 0;
  double release_lies = 0;  // says that it let go, and did not
  double scrub_fails = 0;
  double vcpus_missing = 0;  // not all that are asked for are plugged
  double vcpus_kept = 0;     // the guest does not let go of them
  double vcpus_silent = 0;   // no answer, and nothing done
  double twice = 0;          // an agent's message arrives a second time, later
  double from_grave = 0;     // what a guest sent before its end arrives after it
  double unreachable = 0;    // it serves, and its clients cannot be led to it for a while
};

// What may be caused from outside, by weight; 0 never.
enum class FaultName {
  panic,
  panic_unseen,  // no pvpanic event: found by silence alone
  hang,
  hang_short,  // recovers by itself
  vmm_stop,    // SIGSTOP of QEMU
  vmm_stop_short,
  vmm_kill,
  agent_silent,
  agent_silent_short,
  agent_lost,
  app_exit,    // recoverable: restarted in place
  app_failed,  // unrecoverable
  app_hang,    // its health check fails: unrecoverable
  app_wants,   // ran out of memory, asks for more
  app_oom,     // ran out of memory, unrecoverable
  journal,     // refuses for a while
  lie,         // an agent says what is not so
  switchover,
  down_and_up,
  maintenance,
  daemon_death,
  rehearse,       // by order
  clock_jump,     // the daemon's clock is ahead all at once, as after a suspended host
  daemon_stall,   // the daemon is not let run for a while, and then finds everything at once
  suspend,        // a guest's OS suspends itself, and an alarm of its clock wakes it
  signal_cont,    // of what holds a fenced guest: somebody sends its QEMU SIGCONT,
  monitor_cont,   // or somebody else lets it go on by its monitor
  app_undying,    // given up by its agent, and its processes do not end
  host_refuses,   // out of descriptors, say: for a while nothing is plugged, zeroed or launched
  agent_restart,  // started anew in its guest; what it had started may still run
  eject,          // root in a guest ejects an area or a vCPU of it, and that is told
  eject_unseen,   // and it is not told
  stop_order,     // the operator stops an application, and starts it again as everything that does not run
};
inline constexpr std::size_t kFaultNames = 33;
[[nodiscard]] const char* fault_name(FaultName fault);

// One system and the weather it lives in.
struct Shape {
  core::Setup setup;
  std::vector<Bytes> os_bytes;  // per guest: what its OS uses of the base memory
  Timing timing;
  Odds odds;
  std::array<double, kFaultNames> weights{};
  Span fault_gap{std::chrono::milliseconds(200), std::chrono::milliseconds(3000)};
  double follow_up = 0.3;  // odds that a fault is followed by another within the takeover that it causes
  std::uint32_t most_restarts = 3;
  Duration look{};          // of the port at one guest, and then at the next; 0: never
  double file_changes = 0;  // odds that a daemon that is started again has another configuration

  [[nodiscard]] double& weight(FaultName fault) { return weights[static_cast<std::size_t>(fault)]; }
};

// Swarm mode: numbers of guests and applications, roles, trust domains, how tight the pool is, which faults
// there are and how often, all drawn from the seed; guests and apps other than 0 are as given.
[[nodiscard]] Shape draw_shape(Random& random, std::size_t guests = 0, std::size_t apps = 0);
// A healthy system of that many guests (alpha, beta, ...) and applications (db, web, ...), each application
// hot standby on all guests, four areas of need each, and room for all; no faults.
[[nodiscard]] Shape plain_shape(std::size_t guests, std::size_t apps);
// The same guests, applications and areas; everything else that a file says of them may be another.
void change_setup(Random& random, core::Setup& setup);
// One line for the head of a trace.
[[nodiscard]] std::string describe(const Shape& shape);

}  // namespace understudy::sim

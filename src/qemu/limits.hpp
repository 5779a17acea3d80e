#pragma once

#include "base/time.hpp"

namespace understudy::qemu {

// How long each thing may take before it counts as failed. Only what waits for QEMU's own loop is short; a
// limit that passes always ends in a stop that is certain (SIGKILL), never in a guess.
struct Limits {
  Duration launch = std::chrono::seconds(10);               // process start to a working monitor
  Duration adopt = std::chrono::seconds(3);                 // the same for a QEMU that runs already
  Duration fence_monitor = std::chrono::milliseconds(200);  // stop and query-status, then SIGKILL
  Duration fence_signal = std::chrono::milliseconds(200);   // SIGSTOP to all threads stopped, then SIGKILL
  Duration kill_said = std::chrono::seconds(3);  // after SIGKILL: then it is said that it has not ended
  Duration kill_said_again = std::chrono::seconds(60);
  Duration scan = std::chrono::seconds(2);  // a look at every process of the host
  // Whatever answers later answers a fence later, too. Only the words are lost then.
  Duration console = std::chrono::milliseconds(100);
  Duration probe = std::chrono::milliseconds(200);
  Duration plug = std::chrono::seconds(10);         // each monitor command of a plug
  Duration unplug = std::chrono::seconds(5);        // device_del to DEVICE_DELETED
  Duration look = std::chrono::seconds(3);          // at what is plugged into one guest, and then at the next
  Duration look_again = std::chrono::seconds(1);    // at the same guest, whatever is told of it
  Duration monitor_lost = std::chrono::seconds(1);  // end of the monitor's connection to the end of QEMU
};

// A probe that took as long as the fence would hold every takeover from a hang up twice.
static_assert(Limits{}.probe <= Limits{}.fence_monitor);
static_assert(Limits{}.fence_monitor < Limits{}.monitor_lost);

}  // namespace understudy::qemu

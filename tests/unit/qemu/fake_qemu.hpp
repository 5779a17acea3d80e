#pragma once

#include <string>

namespace understudy::qemu {

// A stand-in for QEMU: this very program, started again with QEMU's command line. It speaks QMP on descriptor
// 3, keeps a list of areas, answers connections to its forwarded ports like a living kernel would (by closing
// them), and takes orders from whoever connects to the agent's socket (descriptor 4).
//
// Its faults are listed in UNDERSTUDY_FAKE_QEMU, separated by spaces:
//   ACTION=COMMAND    from the first such command after a launch's own on; ACTION is one of
//                     refuse (answers with an error), silent (answers nothing to it), exit (ends itself),
//                     hangup (closes the monitor), garbage (says something that is no JSON),
//                     late (does it, and says nothing more from then on until it is ordered to "answer")
//   launch            the actions count from the first command on, those of a launch included
//   mute              never greets
//   deaf              the guest never lets go of an area
//   refusing          the guest refuses to let go of an area
//   dead-kernel       connections to forwarded ports stay open
//   hello             whoever connects to the agent's socket gets a line
//   dump-hangs        a dump is begun and never done
//   dump-fails        a dump is begun and fails
//   no-console        as one of an earlier version: there is no such device
//   unstoppable       `stop` succeeds, but query-status says that it runs
// Orders: "panic", "shutdown REASON", "stop STATUS", "status STATUS" (it is so, and nothing is said),
// "event NAME", "deleted DEVICE", "vanish DEVICE" (and nothing is said), "exit STATUS", "abort", "answer",
// "backend NAME" (as of a former daemon), "writes BASE64" (on its console), "name TEXT" (written over the
// name in its command line, answered with "renamed"), "first" (its first thread ends, another does not),
// "open PATH" (answered with "opened", "connected" when it is a socket, or why not).
constexpr const char* kFakeQemuVariable = "UNDERSTUDY_FAKE_QEMU";
constexpr const char* kFakeQemu = "/proc/self/exe";

}  // namespace understudy::qemu

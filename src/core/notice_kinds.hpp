#pragma once

#include <array>
#include <string_view>

namespace understudy::core {

// Every kind of event (Notice::kind) that can stand in the event log, in the order of the alphabet. A hook
// can only be on one of these; tests/unit/config/event_kinds_test.cpp holds the list against the sources.
inline constexpr std::array<std::string_view, 63> kNoticeKinds{"agent-misbehaved",
                                                               "agent-says",
                                                               "agent-silent",
                                                               "app-failed",
                                                               "app-faulted",
                                                               "app-grows",
                                                               "app-placing",
                                                               "app-reachable",
                                                               "app-restarted",
                                                               "app-restarting",
                                                               "app-resumed",
                                                               "app-serving",
                                                               "app-start-failed",
                                                               "app-unreachable",
                                                               "area-lost",
                                                               "area-scrubbed",
                                                               "daemon-late",
                                                               "daemon-leaves",
                                                               "daemon-signal",
                                                               "daemon-started",
                                                               "drill",
                                                               "dump",
                                                               "gateway",
                                                               "guest-adopted",
                                                               "guest-answers",
                                                               "guest-exited",
                                                               "guest-fenced",
                                                               "guest-fencing",
                                                               "guest-hung",
                                                               "guest-launch-failed",
                                                               "guest-launching",
                                                               "guest-outdated",
                                                               "guest-panicked",
                                                               "guest-ready",
                                                               "guest-suspected",
                                                               "hook-failed",
                                                               "hooks-dropped",
                                                               "journal-failed",
                                                               "journal-works",
                                                               "maintenance-begun",
                                                               "maintenance-ended",
                                                               "maintenance-expired",
                                                               "no-dump",
                                                               "no-memory",
                                                               "no-more-memory",
                                                               "plug-failed",
                                                               "prepare-failed",
                                                               "prepared",
                                                               "proof-expired",
                                                               "rehearsal-began",
                                                               "rehearsal-failed",
                                                               "rehearsal-passed",
                                                               "released-in-part",
                                                               "scrub-failed",
                                                               "stop-delayed",
                                                               "switchover-given-up",
                                                               "takeover-begun",
                                                               "takeover-done",
                                                               "takeover-waits",
                                                               "vcpus-kept",
                                                               "vcpus-missing",
                                                               "vcpus-plugged",
                                                               "vcpus-unplugged"};

// What tells of hooks sets none off: one that fails would otherwise go on for ever.
[[nodiscard]] constexpr bool is_about_hooks(std::string_view kind) {
  return kind == "hook-failed" || kind == "hooks-dropped";
}

}  // namespace understudy::core

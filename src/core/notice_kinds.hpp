#pragma once

#include <array>
#include <string_view>

namespace understudy::core {

// Every kind of event (Notice::kind) that can stand in the event log, in the order of the alphabet. A hook
// can only be on one of these; tests/unit/config/event_kinds_test.cpp holds the list against the sources.
inline constexpr std::array<std::string_view, 77> kNoticeKinds{"agent-misbehaved",
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
                                                               "app-stopped",
                                                               "app-taken-back",
                                                               "app-unreachable",
                                                               "area-lost",
                                                               "area-repaired",
                                                               "area-scrubbed",
                                                               "daemon-late",
                                                               "daemon-leaves",
                                                               "daemon-signal",
                                                               "daemon-started",
                                                               "difference-found",
                                                               "drill",
                                                               "dump",
                                                               "engage-failed",
                                                               "events-held-back",
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
                                                               "journal-unreserved",
                                                               "journal-works",
                                                               "limit-passed",
                                                               "loop-blocked",
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
                                                               "protection-back",
                                                               "protection-lost",
                                                               "qemu-event",
                                                               "rehearsal-began",
                                                               "rehearsal-failed",
                                                               "rehearsal-passed",
                                                               "released-in-part",
                                                               "scrub-failed",
                                                               "state-unwritten",
                                                               "stop-delayed",
                                                               "stop-overdue",
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

// What a guest can cause as often as it likes, by talking alone; its number is bounded for each guest.
[[nodiscard]] constexpr bool is_talk_of_a_guest(std::string_view kind) {
  for (const std::string_view talk :
       {"agent-misbehaved", "agent-says", "agent-silent", "app-grows", "app-restarted", "app-restarting",
        "area-lost", "difference-found", "guest-answers", "guest-suspected", "no-more-memory",
        "prepare-failed", "prepared", "qemu-event"}) {
    if (kind == talk) return true;
  }
  return false;
}

}  // namespace understudy::core

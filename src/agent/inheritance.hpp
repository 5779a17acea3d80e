#pragma once

#include <string>
#include <vector>

// What a process inherits from whoever started it and what changes how it runs: signals, limits, descriptors,
// file modes, working directory, environment, processors, timers.
namespace understudy::agent {

inline constexpr unsigned long long kMostDescriptors = 524'288;  // of a program

// For the agent, before anything else: a known state, whoever started it. What could not be had.
[[nodiscard]] std::vector<std::string> take_known_state();

// Standard input, output and error are open, on /dev/null if need be: else the next file that is opened would
// become one of them, and be written to by whoever prints something.
void have_standard_descriptors();

// In a forked child, for a program: every signal has its default action and none is blocked.
void default_signals();
// In a forked child that still has its privileges. processes: how many one user may have; 0: as inherited.
// counted: its cgroup limits its processes, so that others who run as the same user cannot use them up.
void ordinary_limits(unsigned long long processes, bool counted);
// In a forked child: the agent's own scheduling, processors and timers are not handed down.
void ordinary_scheduling(int nice);

}  // namespace understudy::agent

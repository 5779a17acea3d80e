#pragma once

#include "base/error.hpp"

#include <functional>
#include <string>
#include <vector>

// A process inherits far more than its arguments: what its starter did with signals, descriptors, limits, the
// umask, a timer that is still running. None of that is to change what our programs do, so each of them
// starts with enter_known_state(), and everything that they start comes from become_ordinary_child().
namespace understudy {

enum class ProgramKind {
  command,  // a person's command line: dies of a closed pipe, and of what its terminal sends unless that is
            // ignored
  service,  // runs on after its starter: survives closed pipes and terminals, takes all the descriptors it
            // may
};

struct KnownState {
  // Sentences for a person: what could not be changed and may be felt, such as a niceness of 19.
  std::vector<std::string> remarks;
};

// Brings the calling process into a known state; called first thing in main, before there are threads:
// descriptors 0 to 2 are open, all signals have their default meaning, none is blocked or pending from
// before, no timer or parent's death will end it, its limits are as high as they may be, files that it makes
// are its user's alone, and the memory killer and the scheduler treat it as they treat others (a service:
// rather better than worse). An error is a sentence that says what it cannot work with and what to do.
//
// Left as they are, because they are the operator's to choose: the CPUs and the control group that it runs
// in, capabilities and namespaces, the user, PATH and the time zone; of a command, signals that are ignored
// (nohup).
[[nodiscard]] Result<KnownState> enter_known_state(ProgramKind kind);

// A service alone: leaves the directory where it was started, and closes every descriptor but 0 to 2 and
// those of `keep` (-1 is none). Relative paths are made absolute before.
[[nodiscard]] Result<void> leave_starter(std::vector<int> keep);

// `path` as an absolute one, also where the working directory is gone or may not be read: then a sentence.
[[nodiscard]] Result<std::string> absolute_path(const std::string& path);

// Between fork and exec, with nothing but system calls: ordinary signals, priority, memory score, umask 022
// and descriptor limit, no core file, in "/". Descriptors are the caller's business.
void become_ordinary_child();

// ---- signals of a service ----

// Whoever sends one of these wants the program to end.
[[nodiscard]] const std::vector<int>& signals_that_end();
// They mean something to other programs, and would by default end this one without a word: caught and said.
[[nodiscard]] const std::vector<int>& signals_without_meaning();
// "SIGHUP", "SIGRTMIN+3".
[[nodiscard]] std::string signal_name(int number);
// "SIGHUP means nothing to understudyd: no file is read again and nothing was changed; SIGTERM ends it"
[[nodiscard]] std::string without_meaning(int number, const std::string& program);

}  // namespace understudy

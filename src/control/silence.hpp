#pragma once

#include "base/time.hpp"

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

// Why nobody answers on a control socket, for the person who asked.
namespace understudy::control {

// Nobody is connected to: connect() failed with `error`.
[[nodiscard]] std::string nobody_answers(const std::filesystem::path& socket, int error);
// The daemon took the question and says nothing: "understudyd (pid 7) has not answered …: it is stopped
// (state T) …; what to do". 0: who it is is not known.
[[nodiscard]] std::string silence_text(pid_t daemon, Duration limit);
// It ended while it was asked.
[[nodiscard]] std::string ended_text(std::string_view when);
// The daemon that is written down in the run directory, if it lives; 0: none.
[[nodiscard]] pid_t pid_in(const std::filesystem::path& run_dir);
// The state letter of a process as /proc says it ('T' stopped, 'D' in the kernel, …); '?': no such process.
[[nodiscard]] char process_state(pid_t pid);

}  // namespace understudy::control

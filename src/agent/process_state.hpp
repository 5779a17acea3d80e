#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

namespace understudy::agent {

// What /proc/PID/stat says.
struct ProcessState {
  std::string name;
  char state = '?';  // R, S, D, T (stopped), t (traced), Z (ended, not reaped), X
  pid_t parent = 0;
  pid_t session = 0;

  [[nodiscard]] bool ended() const { return state == 'Z' || state == 'X' || state == 'x'; }
  [[nodiscard]] bool stopped() const { return state == 'T' || state == 't'; }
};

[[nodiscard]] std::optional<ProcessState> parse_process_state(std::string_view stat);
[[nodiscard]] std::optional<ProcessState> read_process_state(pid_t pid);

}  // namespace understudy::agent

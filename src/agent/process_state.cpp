#include "agent/process_state.hpp"

#include "agent/os.hpp"

namespace understudy::agent {

std::optional<ProcessState> parse_process_state(std::string_view stat) {
  // "PID (NAME) STATE PPID PGRP SESSION ...": the name may hold spaces and parentheses, so its end is the
  // last one.
  const std::size_t open = stat.find('(');
  const std::size_t close = stat.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  ProcessState state;
  state.name = stat.substr(open + 1, close - open - 1);
  std::string_view rest = trim(stat.substr(close + 1));
  if (rest.empty()) return std::nullopt;
  state.state = rest.front();
  for (int skipped = 0; skipped < 3; ++skipped) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(space + 1);
  }
  const auto session = parse_number(rest.substr(0, rest.find(' ')));
  if (!session) return std::nullopt;
  state.session = static_cast<pid_t>(*session);
  return state;
}

std::optional<ProcessState> read_process_state(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return std::nullopt;
  return parse_process_state(*text);
}

}  // namespace understudy::agent

#include "agent/process_state.hpp"

#include "base/kernel_files.hpp"

#include <array>

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
  std::array<pid_t, 3> numbers{};  // parent, process group, session
  for (pid_t& number : numbers) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(space + 1);
    const auto parsed = parse_number(rest.substr(0, rest.find(' ')));
    if (!parsed) return std::nullopt;
    number = static_cast<pid_t>(*parsed);
  }
  state.parent = numbers[0];
  state.session = numbers[2];
  return state;
}

std::optional<ProcessState> read_process_state(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return std::nullopt;
  return parse_process_state(*text);
}

}  // namespace understudy::agent

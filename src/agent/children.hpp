#pragma once

#include "agent/loop.hpp"

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace understudy::agent {

// Reaps every child, its own and, as init or subreaper, everybody's orphans, by SIGCHLD on a signalfd.
class Children {
 public:
  using OnEnd = std::function<void(int wait_status)>;

  [[nodiscard]] static Result<std::unique_ptr<Children>> create(Loop& loop);

  // Called once, when this child has been reaped. Register before the next turn of the loop.
  void expect(pid_t pid, OnEnd on_end);
  // Nobody cares any more how it ends; it is reaped all the same.
  void forget(pid_t pid);
  // Called after any reaping, strangers' too.
  void on_any_end(std::function<void()> handler) { on_any_end_ = std::move(handler); }

 private:
  Children(Loop& loop, UniqueFd signals);
  void reap();

  UniqueFd signals_;
  std::map<pid_t, OnEnd> expected_;
  std::function<void()> on_any_end_;
  Loop::Watch watch_;
};

// "exit status 1", "killed by signal 9 (SIGKILL)".
[[nodiscard]] std::string describe_end(int wait_status);
// The same of a command: why it could not be executed, if it could not, else with the last line that it
// wrote, and what a shell means by its status.
[[nodiscard]] std::string describe_end(int wait_status, std::string_view exec_error, std::string_view output);

}  // namespace understudy::agent

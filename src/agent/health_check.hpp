#pragma once

#include "agent/children.hpp"
#include "agent/output_tail.hpp"
#include "agent/spawn.hpp"
#include "protocol/messages.hpp"

#include <functional>
#include <memory>

namespace understudy::agent {

// One check of one application at a time; none ever blocks the loop.
class HealthCheck {
 public:
  using Done = std::function<void(Result<void>)>;

  // command: who and with which environment an exec check runs, and the container for it; its argv is the
  // check's.
  HealthCheck(Loop& loop, Children& children, protocol::Health health, pid_t main_process,
              SpawnRequest command);
  ~HealthCheck();
  HealthCheck(const HealthCheck&) = delete;
  HealthCheck& operator=(const HealthCheck&) = delete;

  // Calls done once, within the check's limit; may do so before it returns.
  void run(Done done);

 private:
  void check_tcp();
  [[nodiscard]] Result<void> somebody_else_answered(const std::string& where) const;
  void check_exec();
  void exec_ended(int wait_status);
  void finish(Result<void> result);
  [[nodiscard]] Result<void> main_process_lives() const;

  Loop& loop_;
  Children& children_;
  protocol::Health health_;
  pid_t main_process_;
  SpawnRequest command_;
  Done done_;
  UniqueFd connection_;
  pid_t check_process_ = -1;
  UniqueFd output_;
  UniqueFd exec_error_;
  OutputTail tail_;
  Loop::Watch watch_;
  Loop::Timer limit_;
};

}  // namespace understudy::agent

#pragma once

#include "agent/host.hpp"
#include "agent/output_tail.hpp"
#include "base/unique_fd.hpp"

#include <map>
#include <memory>
#include <string>

namespace understudy::agent {

// Runs an application's prepare command on a standby, at low priority and within a limit, so that its files
// are in memory when it is started. One at a time for each application.
class Preparer {
 public:
  static constexpr Duration kLimit = std::chrono::seconds(60);

  explicit Preparer(Host& host) : host_(host) {}
  ~Preparer();
  Preparer(const Preparer&) = delete;
  Preparer& operator=(const Preparer&) = delete;

  void prepare(const protocol::Application& definition);

 private:
  struct Pending {
    protocol::AppNumber app = 0;
    std::unique_ptr<Container> container;
    pid_t pid = -1;
    Time began;
    bool cut_short = false;
    UniqueFd exec_error;
    UniqueFd output;
    OutputTail tail;
    Loop::Watch watch;
    Loop::Timer limit;
  };

  [[nodiscard]] Result<void> begin(const protocol::Application& definition, Pending& pending);
  void ended(const std::string& name, int wait_status);
  void answer(const Pending& pending, std::string why_not);

  Host& host_;
  std::map<std::string, Pending> pending_;  // by the application's name
};

}  // namespace understudy::agent

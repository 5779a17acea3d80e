#pragma once

#include "agent/host.hpp"
#include "agent/keeper.hpp"
#include "agent/output_tail.hpp"
#include "base/unique_fd.hpp"

#include <map>
#include <memory>
#include <string>

namespace understudy::agent {

// Runs an application's prepare command on a standby, at low priority and within a limit, so that its files
// are in memory when it is started. One at a time for each application, in namespaces of its own: the
// application does not run here yet.
class Preparer {
 public:
  static constexpr Duration kLimit = std::chrono::seconds(60);

  explicit Preparer(Host& host) : host_(host) {}
  ~Preparer();
  Preparer(const Preparer&) = delete;
  Preparer& operator=(const Preparer&) = delete;

  void prepare(const protocol::Application& definition);
  // What was prepared with may have gone.
  void look();

 private:
  // Kept from one time to the next, as cgroups outlive what was killed in them by a moment.
  struct Place {
    std::unique_ptr<Container> container;
    std::unique_ptr<Keeper> keeper;  // null: it is where everybody is
  };
  struct Pending {
    protocol::AppNumber app = 0;
    pid_t pid = -1;
    Time began;
    bool cut_short = false;
    bool has_ended = false;
    std::string why_not;
    UniqueFd exec_error;
    UniqueFd output;
    OutputTail tail;
    Loop::Watch watch;
    Loop::Timer limit;
  };

  [[nodiscard]] Result<void> begin(const protocol::Application& definition, Pending& pending);
  [[nodiscard]] Result<void> make_place(const protocol::Application& definition);
  void end(const std::string& name);
  void ended(const std::string& name, int wait_status);
  void answer(const Pending& pending, std::string why_not);

  Host& host_;
  std::map<std::string, Place> places_;     // by the application's name
  std::map<std::string, Pending> pending_;  // likewise
};

}  // namespace understudy::agent

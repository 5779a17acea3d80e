#pragma once

#include "agent/container.hpp"
#include "agent/own_files.hpp"
#include "agent/users.hpp"
#include "base/unique_fd.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace understudy::agent {

// What an application has of the guest to itself.
struct Namespaces {
  std::optional<OwnFiles> files = {};
  bool processes = false;                 // see own_processes.hpp
  bool isolated = false;                  // see isolation.hpp
  std::vector<std::string> scratch = {};  // of an isolated one

  [[nodiscard]] bool any() const { return files || processes || isolated; }
};

// Keeps the namespaces of one application from its start to its end: a process that does nothing else. Where
// the application's processes are its own, it is the first of them: it adopts orphans, cannot be signalled
// from in there, and all of them end with it.
class Keeper {
 public:
  explicit Keeper(std::unique_ptr<Container> container) : container_(std::move(container)) {}
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // They are being made, or are there.
  [[nodiscard]] Result<void> keep(const Namespaces& namespaces, const User& user);
  // For those who are to join them: whose they are, and what is to be read until they are there: end of file,
  // or the step that failed.
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int ready() const { return ready_.get(); }
  // -1: the agent's.
  [[nodiscard]] int pid_namespace() const { return pid_namespace_.get(); }

  void end() { container_->kill_all(); }
  // All that was in them is gone when this says no.
  [[nodiscard]] bool there() const { return container_->populated(); }
  void on_change(std::function<void()> handler) { container_->on_change(std::move(handler)); }
  [[nodiscard]] std::vector<pid_t> processes() const { return container_->processes(); }

 private:
  std::unique_ptr<Container> container_;
  std::string own_run_directory_;
  pid_t pid_ = -1;
  UniqueFd ready_;
  UniqueFd pid_namespace_;
};

}  // namespace understudy::agent

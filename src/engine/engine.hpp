#pragma once

#include "core/core.hpp"
#include "engine/ports.hpp"

namespace understudy::engine {

// Feeds the core one event at a time and performs what it wants done. perform() is the one place where the
// order of effects is written down. The daemon and the simulator run this same code.
class Engine {
 public:
  Engine(core::Core& core, Ports ports) : core_(core), ports_(ports) {}

  void deliver(const core::Event& event);
  // Called after every step whose outputs were performed.
  std::function<void()> after_step;

 private:
  void perform(const core::Outputs& out);
  void perform_at_once(const core::Outputs& out);  // what stops, withdraws or asks
  void perform_durable(const core::Outputs& out);  // what hands over or starts
  [[nodiscard]] bool journal(const std::vector<core::Record>& records);
  void withhold(const core::Outputs& out);

  core::Core& core_;
  Ports ports_;
  std::vector<core::Record> unwritten_;  // refused by the journal so far; written before anything newer
  // What has to wait for those records. Whatever a later step stops or withdraws is taken out of it.
  core::Outputs withheld_;
  bool something_withheld_ = false;
  bool refused_ = false;
};

}  // namespace understudy::engine

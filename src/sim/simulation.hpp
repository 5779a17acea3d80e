#pragma once

#include "core/core.hpp"
#include "core/view.hpp"
#include "engine/engine.hpp"
#include "sim/agents.hpp"
#include "sim/checkers.hpp"
#include "sim/hypervisor.hpp"
#include "sim/memory_journal.hpp"
#include "sim/nemesis.hpp"
#include "sim/ports.hpp"
#include "sim/world.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::sim {

// The shipped core and engine over a simulated world, with the checkers after every event.
class Simulation {
 public:
  // Puts something between the engine and the simulated ports, as tests of the checkers do.
  using Wrap = std::function<engine::Ports(World&, engine::Ports)>;

  Simulation(Shape shape, std::uint64_t seed, Wrap wrap = {});
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  World world;
  MemoryJournal journal;
  Checkers checkers;
  SimObserver observer;
  Nemesis nemesis;

  // The daemon starts: for the first time, or again over its journal.
  void start_daemon();
  void kill_daemon();  // now; it does not start again by itself
  void restart_daemon_after(Duration delay);
  void stall_daemon(Duration delay);
  void jump_clock(Duration ahead);
  [[nodiscard]] bool daemon_up() const { return daemon_ != nullptr; }
  // A command of the operator, now. Whether everything is to be up or down is said again to a daemon that is
  // started again.
  void command(const core::Event& event);

  // One event; false when there is none, or a promise was broken.
  bool step();
  // Until `done` says so; false when that takes longer than `limit`, or a promise was broken.
  bool run_until(const std::function<bool()>& done, Duration limit);
  bool run_for(Duration time);

  // The liveness promise: what keeps the system from being whole, and empty when it is. Every guest is back,
  // every application serves that some guest could carry, every hot standby application that could be
  // protected is.
  [[nodiscard]] std::string not_whole() const;
  // Everything is down: no process, no application, every area unused.
  [[nodiscard]] std::string not_down() const;

  // Causes the fault in a copy of the whole simulation, and looks whether every application that is called
  // protected on that guest serves elsewhere in the end (trial.cpp). Nothing changes here.
  void check_protection(core::GuestId failing, FaultName fault);
  // What the user is told, for tests that plant a lie.
  std::function<core::Protection(const core::State&, const core::Application&)> told = core::protection;
  struct Trials {
    std::uint64_t claims = 0;  // found true
    std::uint64_t undecided = 0;
  };
  Trials trials;
  bool trace_trials = false;  // of copies, too

  // A whole swarm run: up, `weather` of faults, calm until it is whole, down.
  struct Limits {
    Duration weather = std::chrono::seconds(60);
    Duration calm = std::chrono::seconds(400);
    Duration down = std::chrono::seconds(300);
    Span trial_gap{std::chrono::seconds(2), std::chrono::seconds(8)};
  };
  void run(const Limits& limits);

  [[nodiscard]] const core::State* state() const { return daemon_ ? &daemon_->core.state() : nullptr; }
  [[nodiscard]] const std::optional<Violation>& violation() const { return checkers.violation(); }

 private:
  struct Daemon {
    Daemon(const core::Setup& setup, engine::Ports ports) : core(setup), engine(core, ports) {}
    core::Core core;
    engine::Engine engine;
  };

  struct Claim {
    core::AppId app;
    core::GuestId standby;
  };

  bool run_weather(const Limits& limits);
  [[nodiscard]] bool nothing_hidden(core::GuestId failing) const;
  [[nodiscard]] std::vector<Claim> claims(core::GuestId failing) const;
  [[nodiscard]] bool serves_elsewhere(core::AppId app, core::GuestId than) const;
  [[nodiscard]] std::string broken(const std::vector<Claim>& made, core::GuestId failing,
                                   FaultName fault) const;
  [[nodiscard]] std::string suffer(core::GuestId failing, FaultName fault, std::vector<Claim> made);
  void check_protection_somewhere();
  void deliver(const core::Event& event);
  void perform(const core::Event& event);
  void go_on_after_stall();
  void resume();
  void repeat_order();
  [[nodiscard]] bool stale(const core::Event& event) const;
  [[nodiscard]] std::string app_not_whole(core::AppId app) const;
  [[nodiscard]] std::string rehearsal_not_over(core::AppId twin) const;
  [[nodiscard]] std::string vcpus_not_whole(core::AppId app) const;
  [[nodiscard]] std::string standby_not_whole(core::AppId app, core::GuestId holder,
                                              std::uint32_t areas) const;
  [[nodiscard]] bool could_carry(core::GuestId guest, core::AppId app, std::uint32_t free_areas) const;
  void revive_failed_apps();
  [[nodiscard]] std::string beliefs() const;

  SimHypervisor hypervisor_;
  SimAgents agents_;
  SimJournal journal_port_;
  SimGate gate_;
  SimPool pool_;
  SimClock clock_;
  engine::Ports ports_;
  std::unique_ptr<Daemon> daemon_;
  std::optional<core::Event> order_;  // the last BringUp or BringDown
  std::vector<core::Event> held_;     // what has arrived while the daemon is not let run
  std::uint64_t steps_ = 0;
  Time tick_second_{};
  std::uint32_t ticks_in_second_ = 0;
  Random trial_random_;  // of its own, so that what a seed draws does not depend on trials
};

}  // namespace understudy::sim

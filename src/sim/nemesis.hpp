#pragma once

#include "sim/memory_journal.hpp"
#include "sim/world.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace understudy::sim {

// Causes faults, at times and in places drawn from the seed, until it is called off.
class Nemesis {
 public:
  // What it cannot do by itself: it asks whoever runs the daemon.
  struct Hands {
    std::function<void()> kill_daemon;
    std::function<void(const core::Event&)> command;  // of the operator
    std::function<void(Duration)> jump_clock;         // of the daemon, ahead
    std::function<void(Duration)> stall_daemon;
  };

  Nemesis(World& world, MemoryJournal& journal, Hands hands)
      : world_(world), journal_(journal), hands_(std::move(hands)) {}
  Nemesis(const Nemesis&) = delete;
  Nemesis& operator=(const Nemesis&) = delete;

  void begin();
  // No more faults. What is stuck goes on, journals take records again; what is dead stays dead.
  void call_off();
  // One fault of this kind now, in this guest (and application); false: it makes no sense there now.
  bool cause(FaultName fault, core::GuestId guest, core::AppId app);

  std::array<std::uint64_t, kFaultNames> caused{};

 private:
  void next();
  void strike();
  bool cause_in_guest(FaultName fault, Vm& vm);
  bool cause_in_app(FaultName fault, core::AppId app);
  bool loosen(FaultName fault);
  bool eject(Vm& vm, bool seen);
  bool lie(core::AppId app, Vm& vm);
  // What got stuck last recovers by itself; an earlier recovery is none of a later fault.
  bool stick(Vm& vm, bool Vm::*flag);
  bool stick_for_a_while(Vm& vm, bool Vm::*flag);

  World& world_;
  MemoryJournal& journal_;
  Hands hands_;
  bool active_ = false;
  bool called_off_ = false;
};

}  // namespace understudy::sim

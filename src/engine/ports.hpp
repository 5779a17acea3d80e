#pragma once

#include "core/outputs.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

// What the engine needs of the outside world. Each port has one shipped implementation (named beside it) and
// a simulated one (src/sim). Requests return at once; what came of them is delivered later as a core::Event
// through the EventSink that the implementation was made with. Never call the sink from inside a request:
// post it to the loop, so that one step ends before the next begins.
namespace understudy::engine {

using EventSink = std::function<void(core::Event)>;

class Clock {  // daemon/asio_clock
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Time now() const = 0;
  // Calls Engine::deliver(Tick) at or soon after `at`; a later call replaces an earlier one.
  virtual void wake_at(Time at) = 0;
};

class Hypervisor {  // qemu/
 public:
  virtual ~Hypervisor() = default;
  virtual void launch(core::GuestRun run) = 0;
  virtual void adopt(core::GuestRun run) = 0;
  virtual void fence(core::GuestRun run) = 0;
  virtual void probe(core::GuestRun run) = 0;
  // Areas plugged in one call are given to the monitor back to back, in order.
  virtual void plug(core::GuestRun run, std::span<const core::AreaId> areas) = 0;
  virtual void unplug(core::GuestRun run, std::span<const core::AreaId> areas) = 0;
  // Writes the base memory of a stopped run, and never an area, to a file.
  virtual void dump(core::GuestRun run) = 0;
  // vCPUs of an application beyond the guest's base: `count` of them are to be in it (no fewer than that are
  // left after plug_vcpus, none after unplug_vcpus). Always answered; never a reason to end a guest.
  virtual void plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) = 0;
  virtual void unplug_vcpus(core::GuestRun run, core::AppId app) = 0;
  virtual void discard(core::GuestRun run) = 0;
};

class AgentLink {  // link/
 public:
  virtual ~AgentLink() = default;
  virtual void ask_state(const core::action::AskState& request) = 0;
  virtual void ask_need(const core::action::AskNeed& request) = 0;
  virtual void ask_engage(const core::action::AskEngage& request) = 0;
  virtual void ask_start(const core::action::AskStart& request) = 0;
  virtual void ask_stop(const core::action::AskStop& request) = 0;
  virtual void ask_release(const core::action::AskRelease& request) = 0;
  virtual void answer_growth(const core::action::AnswerGrowth& answer) = 0;
  virtual void ask_prepare(const core::action::AskPrepare& request) = 0;
};

class Journal {  // journal/
 public:
  virtual ~Journal() = default;
  // Returns when the records are as durable as the medium makes them. On an error nothing may be acted on.
  [[nodiscard]] virtual Result<void> append(std::span<const core::Record> records) = 0;
};

// gateway/; route is answered by event::AddressRouted, before that perhaps by AddressUnreachable
class AddressGate {
 public:
  virtual ~AddressGate() = default;
  virtual void withdraw(core::AppId app) = 0;
  virtual void route(core::AppId app, core::GuestRun run) = 0;
};

class Pool {  // pool/
 public:
  virtual ~Pool() = default;
  virtual void scrub(core::AreaId area) = 0;  // answered by AreaScrubbed or ScrubFailed
};

class Observer {  // control/ keeps the event log and the last reports
 public:
  virtual ~Observer() = default;
  virtual void notice(Time at, const core::Notice& notice) = 0;
  virtual void report(Time at, const core::TakeoverReport& report) = 0;
};

struct Ports {
  Clock& clock;
  Journal& journal;
  AddressGate& gate;
  Hypervisor& hypervisor;
  AgentLink& agents;
  Pool& pool;
  Observer& observer;
};

}  // namespace understudy::engine

#pragma once

#include "core/events.hpp"
#include "core/records.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>

namespace understudy::core {

// The life of a guest, from the VMM's point of view:
//
//   Off -> Launching -> Booting -> Ready <-> Suspect
//    ^         |           |         |          |        a fault: Fencing -> Fenced -> Discarding -> Off
//    |         v           v         v          v
//    +---- (launch failed) +---------+----------+----> Fencing
//
// Off with `wanted` is launched again when `not_before` has come.
namespace guest_state {

struct Off {
  Time not_before{};
};
// A former daemon launched it; what it is now is being found out.
struct Adopting {
  GuestDurable was = GuestDurable::up;
  std::string why;  // of fencing and fenced
};
struct Launching {};
struct Booting {
  Time deadline{};
};
struct Ready {
  Time last_beat{};
  MemoryReport memory;
};
// Its agent is silent. That alone proves nothing: unknown is not stopped. The guest goes on, its application
// too, until the probes say what it is.
struct Suspect {
  Time last_beat{};
  MemoryReport memory;
  Time kernel_silent_since{};    // start of the unbroken row of probes that no kernel answered
  bool kernel_answered = false;  // what the last probe said
  Time next_probe{};             // while no probe is on its way
  bool probing = false;
};
// It must be stopped before anything that it holds may move. That has no limit: unknown is not stopped. What
// lasts is said (guests.cpp, say_delay).
struct Fencing {
  std::string why;
  Time since{};
  Time say_at{};
};
// Verified stopped: no instruction of this run executes any more. Its process may be kept for a while.
struct Fenced {
  std::string why;
  Time since{};
  bool process_left = true;
  enum class Dump { wanted, under_way, done } dump = Dump::done;
  bool limit_said = false;  // that it does not wait any longer for a takeover to end
};
struct Discarding {  // no limit either: it is not launched beside its former process
  Time since{};
  Time say_at{};
};

}  // namespace guest_state

using GuestState = std::variant<guest_state::Off, guest_state::Adopting, guest_state::Launching,
                                guest_state::Booting, guest_state::Ready, guest_state::Suspect,
                                guest_state::Fencing, guest_state::Fenced, guest_state::Discarding>;

[[nodiscard]] const char* guest_state_name(const GuestState& state);

struct Drill {
  FaultKind kind;
  Time at;
};

// What one run has of one application's vCPUs, as the hypervisor told. Not journalled: after a restart the
// hypervisor tells again.
struct AppVcpus {
  std::uint32_t count = 0;  // in the guest
  enum class Doing { nothing, plugging, unplugging } doing = Doing::nothing;
  std::optional<std::uint32_t> failed_for;  // the latest request, for that many, was not fulfilled
  Time due{};           // of the answer while something is asked, of the next attempt after a failure
  std::string trouble;  // why the latest request was not fulfilled; empty: it was
  Time give_back_at{};  // when the guest let go of some unasked: not before then
};

// Areas of an application that is not there any more, which its guest has kept (leftovers.cpp).
struct Leftover {
  bool asked = false;  // to let go of them
  Time due{};          // of the answer, or of the next time
};

// In what a run was last seen to differ from the table (seen.cpp). What is on its way in or out is not in it.
struct SeenOtherwise {
  std::vector<AreaId> absent;            // the table has them in it
  std::vector<AreaId> strange;           // it has them, and the table says otherwise
  std::map<AppId, std::uint32_t> vcpus;  // that it has of these applications
};

struct Guest {
  GuestId id;
  std::uint32_t run = 0;
  GuestState state = guest_state::Off{};
  bool wanted = false;
  std::uint32_t bad_starts = 0;  // launches in a row that never became ready
  std::string image;             // what this run booted; empty: not known
  std::string stop_evidence;     // why this run has not ended yet although it was killed; empty: none
  bool adopted = false;          // this run: its agent has to be asked which applications it has
  // Adopted, and its monitor has not answered yet: what is plugged into it is not known.
  bool unsettled = false;
  std::optional<Time> state_asked;  // its agent was asked which applications it has; none: or has answered
  std::optional<Time> state_due;    // until when it has to say it; while unsettled, its monitor what is in it
  std::optional<Time> down_since;   // verified stopped, or could not be launched
  std::string launch_trouble;       // why it could not be launched last; empty: it could
  std::optional<Definition> started_with;  // of this run, if it was not launched with what the setup says now
  std::vector<Difference> outdated;        // of this run: in what the setup says otherwise; empty: in nothing
  std::vector<AppId> no_port_for;       // of this run: applications with an address for which it has no port
  std::map<AppId, AppVcpus> vcpus;      // of this run, beyond its base (vcpus.cpp)
  std::map<AppId, Leftover> leftovers;  // in this run
  SeenOtherwise seen_otherwise;         // of this run
  bool unprepared = false;  // this run has let go of memory since it read in what its applications start from
  std::vector<Time> misdeeds;             // of this run's agent, lately
  std::optional<Time> maintenance_until;  // its failures move nothing until then
  std::optional<Drill> drill;             // a fault being caused on purpose, not yet seen
  std::optional<Time>
      relaunched_at;            // of the run after a failure, until it is ready: how long the re-arm took
  bool protection_due = false;  // what its failure would lead to has to be looked at again
  GuestRecord journalled;

  [[nodiscard]] GuestRun current() const { return {id, run}; }
  // Its agent answers: requests make sense.
  [[nodiscard]] const guest_state::Ready* ready() const { return std::get_if<guest_state::Ready>(&state); }
  // Its OS is believed to run: ready, or suspected but not condemned.
  [[nodiscard]] bool believed_up() const {
    return ready() != nullptr || std::holds_alternative<guest_state::Suspect>(state);
  }
  [[nodiscard]] bool coming_up() const {
    return std::holds_alternative<guest_state::Launching>(state) ||
           std::holds_alternative<guest_state::Booting>(state);
  }
  [[nodiscard]] GuestRecord record() const;
};

}  // namespace understudy::core

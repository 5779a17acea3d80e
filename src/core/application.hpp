#pragma once

#include "core/measured.hpp"
#include "core/records.hpp"
#include "core/report.hpp"
#include "core/setup.hpp"

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace understudy::core {

// One application on its way from nowhere, or from the guest where it can no longer be, to the guest where it
// is going to serve. First start, takeover and switchover are the same way; they differ in where they enter:
//
//   switchover ------> Stopping --+
//   app fault, OS alive ----------+--> Releasing --+
//   OS fault, hang, dead QEMU -------> Fencing ----+--> Choosing -> Sizing -> Plugging -> Engaging ->
//   Starting first start -----------------------------------+                                             ->
//   Serving
//
// Whatever fails on the new guest leads back: the guest is fenced or made to let go, then Choosing again.
//
// The twin of a rehearsal goes the same way and never serves: from Engaging, or when it is healthy, it leaves
// by Stopping and Releasing, or by Yielding when an application needs its guest (rehearsal.cpp).
namespace move_step {

// What the host could not do to an area, and when it is asked again; none: it is being done.
struct AreaLater {
  AreaId area;
  std::uint32_t failures = 0;
  std::optional<Time> at;
};

struct Stopping {  // the application is being ended in a living OS
  GuestRun from;
  Time deadline{};
  bool overdue = false;  // it does not end, and its guest is not ended for it, because others are there
};
struct Releasing {  // its areas are leaving a living OS
  GuestRun from;
  Time deadline{};
  bool take_part = false;          // what the OS would not let go of stays there until its guest is stopped
  bool asked = false;              // not while areas are on their way in, or being confirmed
  bool engaging = false;           // the guest still owes the answer to a request to confirm some
  std::vector<AreaLater> again{};  // areas whose unplugging the host refused
};
struct AwaitingFence {
  GuestRun from;
};
// The daemon was started again while this move was under way: what has been reached is being asked.
struct Resuming {
  GuestRun in;
  bool leaving = false;
};
struct Choosing {
  std::string why_not_yet;
  bool for_rehearsal = false;  // all that it waits for is that a rehearsal gets out of its way
  bool for_another =
      false;  // all that it waits for is what another application needs, a matter of milliseconds
};
struct Sizing {  // the new guest's OS computes what is missing
  GuestRun to;
  Time deadline{};
};
struct Plugging {  // areas are being scrubbed (between trust domains only) and plugged
  GuestRun to;
  Time deadline{};                  // of the next area to get any further
  std::vector<AreaLater> scrubs{};  // of this placement; what a former one had scrubbed is not among them
};
struct Engaging {  // the new guest confirms them from inside
  GuestRun to;
  Time deadline{};
};
struct Starting {
  GuestRun to;
  Time deadline{};
  Bytes limit_bytes = 0;  // what it was told that it may use
  Bytes lost_bytes = 0;   // of that; as in Serving
};
// A twin only: nothing of it runs any more. Its areas, confirmed, wait in the guest for an application that
// is on its way and may be placed there.
struct Yielding {
  GuestRun in;
  Time deadline{};
};

}  // namespace move_step

using MoveStep =
    std::variant<move_step::Stopping, move_step::Releasing, move_step::AwaitingFence, move_step::Resuming,
                 move_step::Choosing, move_step::Sizing, move_step::Plugging, move_step::Engaging,
                 move_step::Starting, move_step::Yielding>;
[[nodiscard]] const char* move_step_name(const MoveStep& step);

struct Move {
  MoveStep step;
  std::string cause;
  std::optional<GuestId> from;       // where it ran before; for the report
  std::optional<GuestId> preferred;  // a switchover's wish
  bool after_rehearsal = false;      // a rehearsal came between: not placed before it is over
  bool yields = false;               // its areas are wanted by an application of higher priority
  bool planned = false;              // ordered or decided, while it served: no fault to get away from
  bool may_fence = false;            // planned, and its guest may be ended for it although others serve there
  std::string given_up{};            // planned, and not empty: it goes back to where it was, and this is why
  std::string give_up;               // not empty: once it has left, it is not started again, and this is why
  Time mark{};                       // end of the last phase
  Time placed_at{};                  // its present guest was chosen
  // While it is being brought up on a guest: what the report goes back to when that is in vain.
  struct Before {
    std::array<Duration, kPhaseCount> phases{};
    Bytes bytes_moved = 0;
    Bytes bytes_zeroed = 0;
  };
  std::optional<Before> before;
  std::string in_vain_why;
  TakeoverReport report;

  void lap(Phase phase, Time now) {
    report.phases[static_cast<std::size_t>(phase)] += now - mark;
    mark = now;
  }
};

namespace app_state {

struct Idle {};  // not wanted
struct Moving {
  Move move;
};
struct Serving {
  GuestRun on;
  Time since{};
  Bytes limit_bytes = 0;         // what it may use
  Bytes lost_bytes = 0;          // of that, its guest has given away by itself
  Bytes base_use_bytes = 0;      // of the guest's base memory, as its agent reports
  std::optional<Move> unrouted;  // until the address leads there
  bool unconfirmed = false;      // the daemon was started again; its agent has not said yet that it runs
  std::optional<Time> growing;   // areas are being added to it where it is, and have to be confirmed by then
  std::string growth_trouble{};  // why the host could not plug all of them; empty: it could
  std::optional<Bytes> wants;    // more memory, asked for while the daemon was finding out where it stands
  std::string trouble;           // a recoverable fault being handled in the guest; empty: none
  bool withdrawn = false;        // its clients wait (or are refused) until that fault is over
  std::string unreachable;       // why no client can be led to it although it serves; empty: none is known
  std::optional<Time> restart_due{};  // while there is trouble: it serves again by then, or has failed
};
// Why an application that its operator stopped does not run. Journalled as any other reason.
inline constexpr std::string_view kStoppedByOrder = "stopped by order";

struct Failed {  // given up, or stopped, until the operator starts it again; no area is its own
  std::string why;
  [[nodiscard]] bool by_order() const { return why == kStoppedByOrder; }
};

}  // namespace app_state

using AppState = std::variant<app_state::Idle, app_state::Moving, app_state::Serving, app_state::Failed>;

// Of a twin: the rehearsal under way. Of an application: the last one that ended.
struct Rehearsal {
  std::uint32_t number = 0;  // counts them since the daemon started
  bool start = false;        // the application is started too
  GuestId on;
  std::optional<Bytes> spare_bytes;  // what the guest had available before it
  bool ending = false;               // it stands in somebody's way: it goes no further
  bool proven = false;               // it has come as far as it was to
  std::string failed;                // why it did not pass; empty: nothing has gone wrong
  Bytes bytes = 0;                   // of areas that were attached and confirmed
  Time began{};
  Time ended{};
  std::array<Duration, kPhaseCount> phases{};

  [[nodiscard]] bool passed() const { return proven && failed.empty(); }
};

// That a takeover worked when it was last tried.
struct Proof {
  Time at{};
  bool start = false;  // the application was started; else its memory was attached, and no more
  GuestId on;
  Duration took{};
  Bytes bytes = 0;
  std::string image;     // what the guest had booted; empty: not known
  std::string void_why;  // why it counts no more; empty: it counts
};

// An unplanned takeover, for the limit of how many there may be.
struct Takeover {
  Time at{};
  bool shared = false;  // others were in the guest that failed: it may have been their fault
};

// Why an application was given up that may be innocent.
struct Suspicion {
  std::vector<AppId> others;  // whose fault it may have been instead
  Time since{};
  std::optional<Time> held_until;  // a guest of theirs has failed without it: it is placed again then
};

struct Application {
  AppId id;
  AppState state = app_state::Idle{};
  bool wanted = false;
  Epoch epoch = 0;
  // Guests where it could not be started lately, and when to try them again.
  struct Avoid {
    Time until{};
    std::uint32_t times = 0;
    std::string trouble{};  // what the host could not do for that guest; empty: the guest itself failed
    std::string why;
  };
  std::map<GuestId, Avoid> avoid;
  std::uint32_t failed_starts = 0;     // in a row, wherever; 0 once it serves
  std::string failing;                 // why the latest of them failed; empty: none did
  Measured placing;                    // takeovers: from the choice of its guest until it served there
  std::optional<Duration> rehearsed;   // the same of the latest rehearsal that started it
  std::vector<Takeover> takeovers;     // unplanned ones within the flap window
  std::uint32_t lost_with_others = 0;  // guests that failed with it and others in them, of all time
  std::optional<Time> failed_alone;    // its guest failed last with nobody else in it
  std::optional<Suspicion> suspicion;
  std::optional<Time> yields_from;        // it could not give its areas up lately, and is not asked before
  std::optional<Time> maintenance_until;  // hands off until then
  std::optional<Rehearsal> rehearsal;
  std::optional<Proof> proof;
  bool told_protected = false;  // what the latest event of that kind said
  AppRecord journalled;

  [[nodiscard]] app_state::Moving* moving() { return std::get_if<app_state::Moving>(&state); }
  [[nodiscard]] const app_state::Moving* moving() const { return std::get_if<app_state::Moving>(&state); }
  [[nodiscard]] app_state::Serving* serving() { return std::get_if<app_state::Serving>(&state); }
  [[nodiscard]] const app_state::Serving* serving() const { return std::get_if<app_state::Serving>(&state); }
  // The step, if it is moving and in that step.
  template <class Step>
  [[nodiscard]] Step* in_step() {
    auto* m = moving();
    return m != nullptr ? std::get_if<Step>(&m->move.step) : nullptr;
  }
  template <class Step>
  [[nodiscard]] const Step* in_step() const {
    const auto* m = moving();
    return m != nullptr ? std::get_if<Step>(&m->move.step) : nullptr;
  }
  // The run where it runs, or may run, or is being started or ended.
  [[nodiscard]] std::optional<GuestRun> place() const;
  [[nodiscard]] AppRecord record() const;
};

}  // namespace understudy::core

#pragma once

#include "base/units.hpp"
#include "core/ids.hpp"

#include <optional>
#include <string>
#include <variant>

// What must survive the daemon: who owns what, and what is intended. A record is the whole new value of one
// row; replaying a journal means keeping the last record of every row. docs/journal.md has the byte format.
namespace understudy::core {

enum class AreaState {
  unused,      // nobody's
  held,        // an application's, plugged into no guest
  scrubbing,   // being zeroed for another trust domain
  plugging,    // asked of the hypervisor
  plugged,     // in the guest, not confirmed from inside
  engaged,     // confirmed from inside; its application may use it
  releasing,   // the guest was asked to let go
  unplugging,  // let go; asked of the hypervisor
};
[[nodiscard]] const char* area_state_name(AreaState state);

struct AreaRecord {
  AreaId area;
  AreaState state = AreaState::unused;
  std::optional<AppId> user;
  std::optional<GuestRun> in;  // the run that it is, or may be, plugged into
  std::string last_domain;     // trust domain of whoever could last write to it; empty: it is all zeroes
  bool operator==(const AreaRecord&) const = default;
};

enum class GuestDurable {
  off,      // no process
  up,       // a process exists or may exist
  fencing,  // must be stopped before anything it holds moves
  fenced,   // verified stopped; the process may still have to be removed
};
[[nodiscard]] const char* guest_durable_name(GuestDurable state);

struct GuestRecord {
  GuestId guest;
  std::uint32_t run = 0;
  GuestDurable state = GuestDurable::off;
  std::string why;      // of fencing and fenced
  bool wanted = false;  // not: it is going down, or stays down
  bool operator==(const GuestRecord&) const = default;
};

enum class AppDurable {
  idle,     // not wanted
  waiting,  // wanted, runs nowhere
  moving,   // being brought up on `in`; may run there
  serving,  // runs on `in`
  leaving,  // must be gone from `in` before it starts elsewhere
  failed,   // given up until the operator starts it again
};
[[nodiscard]] const char* app_durable_name(AppDurable state);

struct AppRecord {
  AppId app;
  AppDurable state = AppDurable::idle;
  Epoch epoch = 0;
  std::optional<GuestRun> in;   // where it runs or may run
  std::string cause;            // why it moves
  std::optional<GuestId> from;  // where it ran before the move
  std::optional<GuestId> to;    // where the operator wants it
  std::string give_up;          // once it has left, it is not started again, and this is why
  bool operator==(const AppRecord&) const = default;
};

using Record = std::variant<AreaRecord, GuestRecord, AppRecord>;

}  // namespace understudy::core

#pragma once

#include "core/state.hpp"

#include <string>
#include <vector>

// What a person or a script is shown. Computed from the state on demand; nothing here is stored.
namespace understudy::core {

struct Protection {
  bool is_protected = false;
  std::string why;                 // why not; empty when protected
  std::optional<GuestId> standby;  // who would take over; if nobody, the first that is up and listed for it
  bool would_be_given_up = false;  // after a failure of its guest, instead of waiting for a standby
};

// Would the next failure of its guest, with all that fails at once with it, end with this application serving
// on its standby?
[[nodiscard]] Protection protection(const State&, const Application&);
// How long a takeover after a failure of its guest would take, and what that rests on. A first start is no
// measure of it: its guest's caches are cold. None: neither a takeover nor a rehearsal with --start has been
// seen.
struct Prediction {
  Duration takeover{};
  std::string rests_on;  // "3 takeovers: 388 to 681 ms", "1 takeover", "a rehearsal"
};
[[nodiscard]] std::optional<Prediction> predicted_takeover(const State&, const Application&);
// The move that is under way, as far as it has come; none: the application is not on its way.
[[nodiscard]] std::optional<TakeoverReport> report_under_way(const State&, const Application&);
// Stable word for scripts: stopped, waiting, starting, serving, restarting, moving, failed.
[[nodiscard]] std::string app_state_word(const Application&);
// Why the application is not simply serving; empty when it is.
[[nodiscard]] std::string app_trouble(const Application&);
[[nodiscard]] Bytes areas_bytes(const State&, GuestRun);
// vCPUs of applications that are in the guest now, beyond its base.
[[nodiscard]] std::uint32_t application_vcpus(const Guest&);

enum class Use { os, vmm, application, unused };
[[nodiscard]] const char* use_name(Use use);

// A row of the resource management table.
struct Row {
  std::string id;
  Bytes bytes = 0;
  Use use = Use::unused;
  std::string user;             // guest, application or "understudy"; empty: nobody
  std::string attached_to;      // guest; empty: none
  std::string takeover_target;  // whom it goes to in abnormal status: guest or "unused"; empty: it stays
  std::string state;
};

// vCPUs have no bytes, so they stand in rows of their own.
struct VcpuRow {
  std::string id;
  std::uint32_t count = 0;   // in the guest
  std::uint32_t wanted = 0;  // what it should be when nothing is under way
  Use use = Use::os;
  std::string user;             // guest or application
  std::string attached_to;      // guest; empty: none
  std::string takeover_target;  // guest; empty: they end with the guest that has them
  std::string state;  // of the guest; for an application: plugging, plugged, unplugging, kept, unplugged
  std::string why;    // why there are fewer, or more, than wanted; empty: no trouble
};

// Memory that a part of the VMM was measured to use: the daemon, the gateway, the QEMU of a guest beside the
// guest's own memory.
struct VmmUse {
  std::string part;
  Bytes bytes = 0;
};

struct TableView {
  std::vector<Row> rows;  // the bytes of all rows add up to pool_bytes + over_budget_bytes
  Bytes pool_bytes = 0;   // the configured budget
  std::vector<VcpuRow> vcpus;
  Bytes over_budget_bytes = 0;  // what the VMM was measured to use beyond it; 0 when the budget holds
};

[[nodiscard]] TableView table_view(const State&, const std::vector<VmmUse>& vmm);

}  // namespace understudy::core

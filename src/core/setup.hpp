#pragma once

#include "base/units.hpp"
#include "core/definition.hpp"
#include "core/ids.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace understudy::core {

// What the core has to know of the configuration. Start commands, images, addresses and the like are not its
// business: the ports hold those under the same ids.

struct PoolSetup {
  Bytes budget_bytes = 0;      // all memory Understudy may use: base memory, VMM overhead, areas
  Bytes area_bytes = 128_MiB;  // size of every area; a multiple of the guests' memory block (128 MiB)
  std::uint32_t area_count = 0;
};

// The definition is that of its next run: for the present one ask State::definition().
struct GuestSetup : Definition {
  std::string name;
  Bytes overhead_bytes = 0;    // what QEMU itself is expected to need beside the guest's memory
  Duration boot_limit{};       // launch to the agent's greeting
  Duration heartbeat_limit{};  // silence until the guest is suspected (and only suspected)
  Duration hang_confirm{};     // how long every probe of a suspected guest must fail to call it hung
  bool dump = false;  // its base memory is written to a file after a fault, when the takeover is over
  Duration silent_agent_limit{};  // how long an agent may be silent while its kernel answers; 0 is for ever
};

enum class FirstResort { restart, takeover };
// When a living OS does not let go of all areas in time: fence it, or go on with what it let go of, if that
// reaches the minimum.
enum class OnReleaseLimit { fence, take_part };

struct AppSetup {
  std::string name;
  std::vector<GuestId> guests;  // in order of preference
  Bytes desired_bytes = 0;      // usable memory that it should have
  Bytes minimum_bytes = 0;      // with less it is not started
  Bytes maximum_bytes = 0;      // what it may grow to after running out of memory
  bool hot_standby = false;
  int priority = 0;          // higher is served first
  std::uint32_t vcpus = 0;   // beyond the guest's base
  Duration start_limit{};    // start request to its first passed health check
  Duration stop_limit{};     // polite end, before it is killed
  Duration release_limit{};  // areas detached from a living OS, before the guest is fenced
  OnReleaseLimit on_release_limit = OnReleaseLimit::fence;
  bool preempts = false;  // may take the areas of applications of lower priority when there is no other way
  std::uint32_t flap_takeovers =
      5;  // unplanned takeovers within flap_window after which it is given up; 0: never
  Duration flap_window = std::chrono::minutes(10);
  bool has_address = false;
  Duration proven_for = std::chrono::hours(7 * 24);  // how long a passed rehearsal counts
  // Not an application of the operator's but the twin of this one: its stand-in for rehearsals.
  std::optional<AppId> rehearses;
};

struct Setup {
  PoolSetup pool;
  std::vector<GuestSetup> guests;
  std::vector<AppSetup> apps;

  [[nodiscard]] const GuestSetup& guest(GuestId id) const { return guests.at(id.value); }
  [[nodiscard]] const AppSetup& app(AppId id) const { return apps.at(id.value); }
};

// The same with a twin for every hot standby application, behind all others and in their order: what a
// rehearsal places, starts and takes back instead of the application itself, by the same code
// (core/rehearsal.cpp).
[[nodiscard]] Setup with_rehearsals(Setup setup);
[[nodiscard]] std::optional<AppId> twin_of(const Setup& setup, AppId app);

}  // namespace understudy::core

#include "base/counted.hpp"
#include "config/draft.hpp"
#include "config/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

// Memory that the file promises, held against what the machine can do with it.
namespace understudy::config {

namespace {

std::uint64_t rounded_up(std::uint64_t amount, std::uint64_t unit) {
  return (amount + unit - 1) / unit;
}

std::string mib(Bytes bytes) {
  return fmt::format("{} MiB", rounded_up(bytes, 1_MiB));
}

bool carries_its_own_memmap(Bytes area_bytes) {
  return area_bytes == kMemoryBlock;
}

Bytes usable_bytes(Bytes area_bytes) {
  return carries_its_own_memmap(area_bytes) ? area_bytes - kMemmapOfBlock : area_bytes;
}

std::uint64_t areas_for(Bytes memory, Bytes area_bytes) {
  return rounded_up(memory, area_bytes);
}

// Base memory that a guest needs so that `attach` more can be plugged into it.
Bytes base_needed(Bytes attach, Bytes area_bytes) {
  if (carries_its_own_memmap(area_bytes))
    return kOsFootprint + attach / kPageTablesDivisor + kSpareWithOwnMemmap;
  return kOsFootprint + attach / kPageTablesDivisor + attach / 1000 * kMemmapPerThousand + kSpareForMemmap;
}

struct Sum {
  Bytes base = 0;
  Bytes overhead = 0;
  std::uint64_t areas = 0;
  [[nodiscard]] Bytes total(Bytes area_bytes) const { return base + overhead + areas * area_bytes; }
};

bool check_budget(const Draft& draft, Report& report) {
  const Pool& pool = draft.pool;
  Sum sum;
  std::string of_applications;
  for (const GuestDraft& guest : draft.guests) {
    sum.base += guest.guest.base_bytes;
    sum.overhead += guest.guest.overhead_bytes;
  }
  for (const ApplicationDraft& each : draft.applications) {
    const std::uint64_t areas = areas_for(each.application.memory_bytes, pool.area_bytes);
    sum.areas += areas;
    of_applications +=
        fmt::format("{}{} {}", of_applications.empty() ? "" : ", ", each.application.name, areas);
  }
  const Bytes total = sum.total(pool.area_bytes);
  if (total <= pool.memory_bytes) return true;
  report.add(
      pool.memory_at,
      fmt::format("the budget does not hold: base memory of {} {} + overhead of the QEMUs {} + {} of {} "
                  "for applications ({}) = {}, but memory is {}; write memory = \"{}\" or more, or let an "
                  "application or guest have less",
                  counted(draft.guests.size(), "guest"), format_size(sum.base), format_size(sum.overhead),
                  counted(sum.areas, "area"), format_size(pool.area_bytes), of_applications, mib(total),
                  format_size(pool.memory_bytes), mib(total)));
  return false;
}

std::uint64_t areas_beside_guests(const Draft& draft) {
  Bytes taken = 0;
  for (const GuestDraft& guest : draft.guests) taken += guest.guest.base_bytes + guest.guest.overhead_bytes;
  return taken >= draft.pool.memory_bytes ? 0 : (draft.pool.memory_bytes - taken) / draft.pool.area_bytes;
}

void check_area_count(const Draft& draft, std::uint64_t areas, Report& report) {
  if (areas <= kMostAreas) return;
  const Bytes larger =
      rounded_up(rounded_up(draft.pool.memory_bytes, kMostAreas), kMemoryBlock) * kMemoryBlock;
  report.add(draft.area_at,
             fmt::format("the pool would have {} areas of {}, it may have at most {}; write area_size = "
                         "\"{}\" or more",
                         areas, format_size(draft.pool.area_bytes), kMostAreas, format_size(larger)));
}

// One application's areas in one guest; returns whether they fit into the slots that any guest can have.
bool check_slots(const ApplicationDraft& each, const Draft& draft, Report& report) {
  const Application& application = each.application;
  const std::uint64_t most = areas_for(application.maximum_bytes, draft.pool.area_bytes);
  if (most <= kMostSlots) return true;
  const Bytes larger =
      rounded_up(rounded_up(application.maximum_bytes, kMostSlots), kMemoryBlock) * kMemoryBlock;
  const bool memory = areas_for(application.memory_bytes, draft.pool.area_bytes) > kMostSlots;
  report.add(
      memory ? each.memory_at : each.maximum_at,
      fmt::format("application {} would need {} in one guest, which has at most {} slots; write area_size = "
                  "\"{}\" or more in [pool]",
                  in_quotes(application.name), counted(most, "area"), kMostSlots, format_size(larger)));
  return false;
}

void check_maximum(const ApplicationDraft& each, const Draft& draft, std::uint64_t areas, Report& report) {
  const Application& application = each.application;
  if (application.maximum_bytes <= application.memory_bytes) return;
  if (areas_for(application.maximum_bytes, draft.pool.area_bytes) <= areas) return;
  report.add(
      each.maximum_at,
      fmt::format(
          "maximum_memory is {}, but the whole pool has {} for areas; lower it, or raise memory in [pool]",
          format_size(application.maximum_bytes), format_size(areas * draft.pool.area_bytes)));
}

struct Demand {               // of the applications that list one guest
  std::uint64_t areas = 0;    // all of them at once, grown to their maximum
  std::uint64_t largest = 0;  // the one that needs most to start
  std::string largest_name;
};

Demand demand_on(core::GuestId guest, const Draft& draft) {
  Demand demand;
  for (const ApplicationDraft& each : draft.applications) {
    const auto& guests = each.application.guests;
    if (std::find(guests.begin(), guests.end(), guest) == guests.end()) continue;
    demand.areas += rounded_up(each.application.maximum_bytes, usable_bytes(draft.pool.area_bytes));
    const std::uint64_t areas = areas_for(each.application.memory_bytes, draft.pool.area_bytes);
    if (areas <= demand.largest) continue;
    demand.largest = areas;
    demand.largest_name = each.application.name;
  }
  return demand;
}

void check_guest(GuestDraft& each, const Demand& demand, std::uint64_t areas, const Draft& draft,
                 Report& report) {
  Guest& guest = each.guest;
  if (guest.slots == 0) {
    guest.slots =
        static_cast<std::uint32_t>(std::clamp<std::uint64_t>(std::min(demand.areas, areas), 1, kMostSlots));
  } else if (guest.slots < demand.largest) {
    report.add(each.slots_at,
               fmt::format("guest {} has {}, but application {} needs {}; write slots = {}, or "
                           "leave the key out",
                           in_quotes(guest.name), counted(guest.slots, "slot"),
                           in_quotes(demand.largest_name), counted(demand.largest, "area"), demand.largest));
  }
  const Bytes area = draft.pool.area_bytes;
  const Bytes attach = std::min<std::uint64_t>({demand.areas, areas, guest.slots}) * area;
  const Bytes needed = base_needed(attach, area);
  if (attach == 0 || guest.base_bytes >= needed) return;
  report.add(
      each.base_at,
      fmt::format(
          "guest {} is too small to have {} attached in areas of {}: its OS takes about {}, and the kernel's "
          "tables for it and a reserve {} more; write base_memory = \"{}\" or more{}",
          in_quotes(guest.name), format_size(attach), format_size(area), format_size(kOsFootprint),
          mib(needed - kOsFootprint), mib(rounded_up(needed, 32_MiB) * 32_MiB),
          carries_its_own_memmap(area)
              ? ""
              : ", or area_size = \"128 MiB\" in [pool], whose areas carry their own tables"));
}

bool can_be_calculated(const Draft& draft) {
  return !draft.damaged && draft.pool_good && !draft.guests.empty() &&
         std::all_of(draft.guests.begin(), draft.guests.end(),
                     [](const GuestDraft& each) { return each.sizes_good; }) &&
         std::all_of(draft.applications.begin(), draft.applications.end(),
                     [](const ApplicationDraft& each) { return each.sizes_good && each.guests_good; });
}

}  // namespace

void check_memory(Draft& draft, Report& report) {
  if (!can_be_calculated(draft)) return;
  const bool holds = check_budget(draft, report);
  const std::uint64_t areas = areas_beside_guests(draft);
  check_area_count(draft, areas, report);
  for (const ApplicationDraft& each : draft.applications) {
    if (check_slots(each, draft, report) && holds) check_maximum(each, draft, areas, report);
  }
  // A budget that is too small for the areas is to be raised: judge the guests by what they would then be
  // given.
  const std::uint64_t attachable = holds ? areas : kMostAreas;
  for (std::size_t i = 0; i < draft.guests.size(); ++i) {
    const Demand demand = demand_on(core::GuestId{static_cast<std::uint32_t>(i)}, draft);
    check_guest(draft.guests[i], demand, attachable, draft, report);
  }
}

}  // namespace understudy::config

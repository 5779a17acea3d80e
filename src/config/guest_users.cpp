#include "config/guest_users.hpp"

#include "base/fnv1a.hpp"
#include "config/draft.hpp"
#include "config/limits.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <set>

namespace understudy::config {

namespace {

struct Range {
  std::uint32_t first;
  std::uint32_t last;
};

// What neither Debian (Policy 9.2.2: 0 to 59999, 65534, 65535) nor systemd (docs/UIDS-GIDS.md: homed, dynamic
// users, containers) gives to anybody, up to where some programs take them for negative numbers.
constexpr Range kUnused[] = {{60578, 61183}, {65536, 524287}, {1879048192, 2147483647}};

// The chosen blocks lie below 100000, where /etc/subuid begins (SUB_UID_MIN of login.defs).
constexpr std::uint32_t kFirstChosen = 65536;
constexpr std::uint32_t kEndOfChosen = 100000;
constexpr std::uint32_t kBlock = 128;
static_assert(kBlock >= kMostGuests + 1);

bool is_unused(std::uint64_t first, std::uint64_t last) {
  return std::any_of(std::begin(kUnused), std::end(kUnused),
                     [&](const Range& range) { return range.first <= first && last <= range.last; });
}

}  // namespace

std::optional<GuestUids> guest_uids(const Config& config, const std::filesystem::path& run_dir) {
  if (::geteuid() != 0 || config.qemu.run_as == RunAs::daemon) return std::nullopt;
  GuestUids uids{config.qemu.first_uid, static_cast<std::uint32_t>(config.guests.size())};
  if (uids.first == 0) {
    constexpr std::uint32_t kBlocks = (kEndOfChosen - kFirstChosen) / kBlock;
    uids.first = kFirstChosen + kBlock * static_cast<std::uint32_t>(fnv1a(run_dir.native()) % kBlocks);
  }
  return uids;
}

std::vector<std::uint32_t> assign_uids(const GuestUids& uids, const std::vector<std::string>& guests,
                                       const std::map<std::string, std::uint32_t>& living) {
  std::set<std::uint32_t> taken;
  for (const auto& [name, uid] : living) taken.insert(uid);
  std::vector<std::uint32_t> assigned;
  std::uint32_t next = uids.first;
  for (const std::string& name : guests) {
    const auto kept = living.find(name);
    const bool usable =
        kept != living.end() && kept->second >= uids.first && kept->second - uids.first < kBlock;
    if (usable) {
      assigned.push_back(kept->second);
      continue;
    }
    while (!taken.insert(next).second) ++next;
    assigned.push_back(next);
  }
  return assigned;
}

void check_first_uid(const Draft& draft, Report& report) {
  const std::uint64_t first = draft.qemu.first_uid;
  if (first == 0) return;
  const std::uint64_t last = first + draft.guests.size();  // with the one for trials
  if (draft.qemu.run_as == RunAs::daemon) {
    report.add(draft.qemu.first_uid_at,
               "first_uid has no meaning with run_as = \"daemon\"; remove one of the two");
  } else if (!is_unused(first, last)) {
    report.add(draft.qemu.first_uid_at,
               fmt::format("the uids {} to {} (one for each guest, and one) are not free for this: the "
                           "distribution or systemd gives some of them to others; choose from {} to {}, or "
                           "leave first_uid out",
                           first, last, kFirstChosen, kEndOfChosen - 1));
  }
}

}  // namespace understudy::config

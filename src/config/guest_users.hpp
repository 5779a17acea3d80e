#pragma once

#include "config/config.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

// Who the guests' QEMUs run as when the daemon is root. No entries in /etc/passwd are needed or made: a
// number that nobody else has is enough, and each is also a group.
namespace understudy::config {

struct GuestUids {
  std::uint32_t first = 0;
  std::uint32_t guests = 0;
  // Guest N's, in the order of the file.
  [[nodiscard]] std::uint32_t of(core::GuestId guest) const { return first + guest.value; }
  // For a guest that is booted to try something out.
  [[nodiscard]] std::uint32_t trial() const { return first + guests; }
  [[nodiscard]] std::uint32_t last() const { return trial(); }
};

// One for each guest, under the ids. A guest whose QEMU lives keeps the uid that this has (living: by guests'
// names), also when the file lists the guests in another order by now; the others get the first that nobody
// has: no two guests ever run as the same user.
[[nodiscard]] std::vector<std::uint32_t> assign_uids(const GuestUids& uids,
                                                     const std::vector<std::string>& guests,
                                                     const std::map<std::string, std::uint32_t>& living);

// Nothing when they run as the daemon's user: it is not root, or run_as says so. Without first_uid a block
// of numbers that follows from the run directory, so that a later daemon finds the same ones, and two
// Understudys on one host have different ones.
[[nodiscard]] std::optional<GuestUids> guest_uids(const Config& config, const std::filesystem::path& run_dir);

}  // namespace understudy::config

#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace understudy::pool {

// The file of one area, by its descriptor. It belongs to the daemon's user for ever, mode 0600; the group of
// a guest may open it as long as that guest has the area (0660), and can then change its size, give its
// memory back to the host or take more: put_right() undoes that. Functions that change nothing but the file
// may be called in any thread.
class AreaFile final {
 public:
  // What was found otherwise than it should be, a phrase each, and whether all of it is right now.
  struct Repair {
    std::vector<std::string> found;
    Result<void> done;
  };

  // `reserve`: all of its memory is to be allocated, always.
  AreaFile(UniqueFd fd, Bytes bytes, bool reserve) : fd_(std::move(fd)), bytes_(bytes), reserve_(reserve) {}

  [[nodiscard]] Result<void> allocate() const;
  // What is reserved stays allocated throughout.
  [[nodiscard]] Result<void> zero() const;
  [[nodiscard]] Bytes allocated_bytes() const;

  // Whose group may open it; none: nobody's. A version before this one gave the file away: then its owner's
  // number.
  [[nodiscard]] std::optional<gid_t> holder() const;
  [[nodiscard]] Result<void> open_to(gid_t group) const;
  // To nobody but us, by whatever way others had been let in.
  [[nodiscard]] Repair close_to_others() const;

  // Large enough to be mapped; takes no time.
  [[nodiscard]] Repair lengthen() const;
  // Of its size, and allocated where that is reserved: takes as long as that.
  [[nodiscard]] Repair put_right() const;
  // No longer than it should be.
  void cut() const;

 private:
  UniqueFd fd_;
  Bytes bytes_;
  bool reserve_;
};

// "its size was 0 bytes, not 134217728; put right", for a person.
[[nodiscard]] std::string repair_text(const AreaFile::Repair& repair);

}  // namespace understudy::pool

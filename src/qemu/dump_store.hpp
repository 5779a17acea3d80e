#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"
#include "config/config.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace understudy::qemu {

// A dump is never the last thing that fits on a disk on which others have to write.
inline constexpr Bytes kLeftFree = 256_MiB;

// A dump that is being written.
struct DumpPart {
  std::filesystem::path path;
  UniqueFd file;
};

// The directory with the memory of failed guests: "alpha-20261122T104442Z-run2.vmcore", mode 0600, because it
// is all that the guest knew; while it is being written with ".part" behind it. Bounded in number and in
// bytes, over all guests. What is not named like this is not touched.
class DumpStore final {
 public:
  explicit DumpStore(config::Dumps settings) : settings_(std::move(settings)) {}

  // An empty file for one dump that will have about this many bytes. Fails when it would not fit into the
  // budget, or the disk.
  [[nodiscard]] Result<DumpPart> begin(const std::string& guest, std::uint32_t run, Bytes bytes) const;
  // Gives the finished file its name, then removes the oldest beyond the bounds.
  [[nodiscard]] Result<std::filesystem::path> finish(const std::filesystem::path& part) const;
  // Removes what was not finished.
  static void abandon(const std::filesystem::path& part);
  // The same of these guests' former runs: a daemon that died left it.
  void clear_parts(const std::vector<std::string>& guests) const;

  [[nodiscard]] Duration limit() const { return settings_.limit; }

 private:
  void remove_oldest() const;

  config::Dumps settings_;
};

}  // namespace understudy::qemu

#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "config/config.hpp"
#include "engine/ports.hpp"
#include "pool/pool_directory.hpp"
#include "pool/scrubber.hpp"

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

namespace understudy::pool {

// The areas' backings: one file "area-0007" of exactly area_bytes for each, mode 0600, in memory. A guest has
// an area by mapping its file, so moving it copies nothing, and its content outlives the guest, QEMU and the
// daemon: only remove() ends it. Used from the loop's thread.
class AreaPool final : public engine::Pool {
 public:
  // Makes all areas. With config.reserve every page is allocated now, so that no attach can run out of host
  // memory later. Refuses when areas of an earlier daemon are still there (they may be in use: reopen them or
  // remove them). run_dir must exist. An error leaves nothing behind. Answers to scrub() are posted to
  // `loop`.
  [[nodiscard]] static Result<std::unique_ptr<AreaPool>> create(const config::Pool& config,
                                                                const std::filesystem::path& run_dir,
                                                                std::uint32_t area_count,
                                                                boost::asio::io_context& loop,
                                                                engine::EventSink sink);
  // Takes the areas that an earlier daemon made, contents untouched, after checking that they are what the
  // configuration says: as many, each of the configured size, and fully allocated if reserve is set.
  [[nodiscard]] static Result<std::unique_ptr<AreaPool>> reopen(const config::Pool& config,
                                                                const std::filesystem::path& run_dir,
                                                                std::uint32_t area_count,
                                                                boost::asio::io_context& loop,
                                                                engine::EventSink sink);
  // Whether an earlier daemon's areas are there. Files of a creation that was cut short count as well.
  [[nodiscard]] static Result<bool> exists(const config::Pool& config, const std::filesystem::path& run_dir);
  // Removes every area and the place they are in, whoever made them; also after a crash, and again without
  // harm. Call it when no guest is left: what a process still maps stays allocated until that process ends.
  [[nodiscard]] static Result<void> remove(const config::Pool& config, const std::filesystem::path& run_dir);

  ~AreaPool() override;
  AreaPool(const AreaPool&) = delete;
  AreaPool& operator=(const AreaPool&) = delete;

  // Zeroes the area; it must be plugged nowhere. With reserve its memory stays allocated throughout.
  void scrub(core::AreaId area) override;

  // For guests whose QEMUs have users of their own. An area's file belongs to the daemon's user, mode 0600,
  // and to a guest's only while that guest may have it; the file's owner is the whole of what is known, so a
  // later daemon knows it as well. What a QEMU has opened or mapped it keeps, whoever the owner is.
  [[nodiscard]] Result<void> give(core::AreaId area, uid_t uid, gid_t gid);
  // Only from this user: a late call takes nothing away from the next one.
  void take_back(core::AreaId area, uid_t from);
  void take_back_all(uid_t from);
  // From every user but these (whose QEMUs live).
  void take_back_except(const std::vector<uid_t>& living);
  // Lets other users pass through the directory of the files, which still nobody else can read or change, and
  // opens it, to be handed to a QEMU: the directories above need not be open to that then.
  [[nodiscard]] Result<UniqueFd> open_to_users();

  [[nodiscard]] std::filesystem::path path(core::AreaId area) const;
  [[nodiscard]] Bytes area_bytes() const { return config_.area_bytes; }
  [[nodiscard]] std::uint32_t area_count() const { return static_cast<std::uint32_t>(files_.size()); }
  // Host memory that the areas occupy now. A move that neither zeroes nor copies leaves it as it is.
  [[nodiscard]] Bytes allocated_bytes() const;
  // What a mapping should be aligned to so that the host can use huge pages for it.
  [[nodiscard]] Bytes alignment() const { return alignment_; }
  // "private tmpfs on /run/understudy/areas (huge=within_size,noswap)".
  [[nodiscard]] const std::string& description() const { return description_; }

 private:
  AreaPool(config::Pool config, Place place, boost::asio::io_context& loop, engine::EventSink sink);
  Result<void> make_files(std::uint32_t area_count);
  Result<void> open_files(std::uint32_t area_count);
  Result<void> allocate();
  Result<void> zero(core::AreaId area);

  config::Pool config_;
  Place place_;
  boost::asio::io_context& loop_;
  std::shared_ptr<engine::EventSink>
      sink_;  // shared with posted answers, which a destroyed pool must not deliver
  std::string description_;
  Bytes alignment_ = 0;
  std::vector<UniqueFd> files_;
  std::unique_ptr<Scrubber> scrubber_;  // after files_: its thread uses them
};

}  // namespace understudy::pool

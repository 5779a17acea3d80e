#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "config/config.hpp"
#include "engine/ports.hpp"
#include "pool/area_file.hpp"
#include "pool/area_worker.hpp"
#include "pool/pool_directory.hpp"

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
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
  [[nodiscard]] static Result<bool> exists(const std::filesystem::path& run_dir);
  // Removes every area and the place they are in, whoever made them; also after a crash, and again without
  // harm. Call it when no guest is left: what a process still maps stays allocated until that process ends.
  [[nodiscard]] static Result<void> remove(const std::filesystem::path& run_dir);

  ~AreaPool() override;
  AreaPool(const AreaPool&) = delete;
  AreaPool& operator=(const AreaPool&) = delete;

  // Zeroes the area; it must be plugged nowhere. With reserve its memory stays allocated throughout.
  void scrub(core::AreaId area) override;

  // For guests whose QEMUs have users of their own. An area's file belongs to the daemon's user for ever,
  // mode 0600; while a guest may have it, that guest's group may open it (0660). So no QEMU can change its
  // mode, owner or ACL. Its group is the whole of what is known, so a later daemon knows it as well (files of
  // a version that gave them away are taken back from their owners). What a QEMU has opened or mapped it
  // keeps.
  //
  // Whoever can write to a file can change its size, give its memory back or take more: at each change of
  // hands all of that is put right, and said. What takes time is done beside the loop; who has the area by
  // then notices nothing of it.
  [[nodiscard]] Result<void> give(core::AreaId area, gid_t to);
  // Only from this one: a late call takes nothing away from the next one.
  void take_back(core::AreaId area, gid_t from);
  void take_back_all(gid_t from);
  // From all but these (whose QEMUs live).
  void take_back_except(const std::vector<gid_t>& living);
  // Called for what was found changed, what already was included.
  using Repaired = std::function<void(core::AreaId, const AreaFile::Repair&)>;
  void on_repair(Repaired call);
  // Lets other users pass through the directory of the files, which still nobody else can read or change, and
  // opens it, to be handed to a QEMU: the directories above need not be open to that then.
  [[nodiscard]] Result<UniqueFd> open_to_users();

  [[nodiscard]] std::filesystem::path path(core::AreaId area) const;
  [[nodiscard]] Bytes area_bytes() const { return config_.area_bytes; }
  [[nodiscard]] std::uint32_t area_count() const { return static_cast<std::uint32_t>(files_.size()); }
  // Host memory that the areas occupy now. A move that neither zeroes nor copies leaves it as it is.
  [[nodiscard]] Bytes allocated_bytes() const;
  // Of this area's memory, what does not exist yet: it is allocated when it is touched.
  [[nodiscard]] Bytes missing_bytes(core::AreaId area) const;
  // What a mapping should be aligned to so that the host can use huge pages for it.
  [[nodiscard]] Bytes alignment() const { return alignment_; }
  // "private tmpfs on /run/understudy/areas (huge=within_size,noswap)".
  [[nodiscard]] const std::string& description() const { return description_; }

 private:
  AreaPool(config::Pool config, Place place, boost::asio::io_context& loop, engine::EventSink sink);
  Result<void> make_files(std::uint32_t area_count);
  Result<void> open_files(std::uint32_t area_count, Bytes made_bytes);
  Result<void> allocate();
  Result<void> zero(core::AreaId area);
  // In any thread.
  [[nodiscard]] AreaFile::Repair put_right(core::AreaId area) const;
  void say(core::AreaId area, const AreaFile::Repair& repair);

  config::Pool config_;
  Place place_;
  boost::asio::io_context& loop_;
  std::shared_ptr<engine::EventSink>
      sink_;  // shared with posted answers, which a destroyed pool must not deliver
  std::string description_;
  Bytes alignment_ = 0;
  std::vector<AreaFile> files_;
  Repaired repaired_;
  std::vector<std::pair<core::AreaId, AreaFile::Repair>> said_later_;  // until somebody listens
  // After files_: their threads use them.
  std::unique_ptr<AreaWorker> scrubber_;
  std::unique_ptr<AreaWorker> repairer_;
};

}  // namespace understudy::pool

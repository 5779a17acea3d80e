#pragma once

#include "base/unique_fd.hpp"
#include "core/names.hpp"
#include "engine/ports.hpp"

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::journal {

// The file is written anew, with one record per row, when it has grown by this since it was.
inline constexpr std::uint64_t kGrowthBytes = 2ULL << 20;
// No journal of ours comes near this; a larger file is not one.
inline constexpr std::uint64_t kLargestBytes = 64ULL << 20;

// The journal in a file: a header line, then a line per append, each with its checksum (docs/journal.md).
// Opening replays it. A torn last line (the daemon or the host died while it was written) is cut off: nothing
// was acted on it. Damage anywhere else is refused. The room for what comes is reserved on the disk.
class FileJournal final : public engine::Journal {
 public:
  // 0, or -1 and errno, as fdatasync(2).
  using Sync = std::function<int(int fd)>;

  // `names`: what the numbers of guests and applications stand for from now on. A journal that was written
  // under another configuration is read under these: rows() has the new numbers, and gone() what has none.
  // The file stays as it is until the first append, which writes it anew; whether it can be gone on with at
  // all is for the caller to say before (changes.hpp).
  [[nodiscard]] static Result<std::unique_ptr<FileJournal>> open(const std::filesystem::path& file,
                                                                 const core::Names& names,
                                                                 Sync sync = ::fdatasync);

  [[nodiscard]] Result<void> append(std::span<const core::Record> records) override;
  // The last record of every row, as replayed at open() and appended since.
  [[nodiscard]] std::vector<core::Record> rows() const;
  [[nodiscard]] bool was_torn() const { return was_torn_; }
  // Why a full disk would stop it: the room that it needs next is not reserved. Empty: it is.
  [[nodiscard]] const std::string& unreserved() const { return unreserved_; }
  // Of the configuration that it was written under before.
  [[nodiscard]] const core::Names& former() const { return former_; }
  // Rows of guests and applications that are no more, and of areas that these have; under the former numbers.
  [[nodiscard]] const std::vector<core::Record>& gone() const { return gone_; }

 private:
  FileJournal(std::filesystem::path file, core::Names names, Sync sync);
  [[nodiscard]] Result<void> take_over(std::string_view text);
  [[nodiscard]] Result<void> write_anew();
  [[nodiscard]] Result<void> write_line(const std::string& line);
  void reserve();
  void renumber();
  void keep(const core::Record& record);

  std::filesystem::path file_;
  core::Names names_;
  core::Names former_;
  std::vector<core::Record> gone_;
  Sync sync_;
  UniqueFd fd_;
  std::uint64_t size_bytes_ = 0;     // of the complete lines
  std::uint64_t anew_at_bytes_ = 0;  // it is written anew when it has grown to this
  std::string unreserved_;
  bool room_is_missing_ = false;  // the reserve may be had later
  bool was_torn_ = false;
  // What the disk holds is not known any more, or is under other numbers: the next append writes another
  // file.
  bool suspect_ = false;
  std::map<std::pair<std::size_t, std::uint32_t>, core::Record> rows_;
};

}  // namespace understudy::journal

#pragma once

#include "base/unique_fd.hpp"
#include "engine/ports.hpp"

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::journal {

// The journal in a file: a header line, then a line per append, each with its checksum (docs/journal.md).
// Opening replays it. A torn last line (the daemon or the host died while it was written) is cut off: nothing
// was acted on it. Damage anywhere else is refused. The room for what comes is reserved on the disk.
class FileJournal final : public engine::Journal {
 public:
  // 0, or -1 and errno, as fdatasync(2).
  using Sync = std::function<int(int fd)>;

  // `setup_text` stands for the configuration that the ids in the records belong to; a journal made under
  // another is refused.
  [[nodiscard]] static Result<std::unique_ptr<FileJournal>> open(const std::filesystem::path& file,
                                                                 const std::string& setup_text,
                                                                 Sync sync = ::fdatasync);

  [[nodiscard]] Result<void> append(std::span<const core::Record> records) override;
  // The last record of every row, as replayed at open() and appended since.
  [[nodiscard]] std::vector<core::Record> rows() const;
  [[nodiscard]] bool was_torn() const { return was_torn_; }
  // Why a full disk would stop it: the room that it needs next is not reserved. Empty: it is.
  [[nodiscard]] const std::string& unreserved() const { return unreserved_; }

 private:
  FileJournal(std::filesystem::path file, std::string header, Sync sync);
  [[nodiscard]] Result<void> take_over(std::string_view text);
  [[nodiscard]] Result<void> write_anew();
  [[nodiscard]] Result<void> write_line(const std::string& line);
  void reserve();
  void keep(const core::Record& record);

  std::filesystem::path file_;
  std::string header_;
  Sync sync_;
  UniqueFd fd_;
  std::uint64_t size_bytes_ = 0;     // of the complete lines
  std::uint64_t anew_at_bytes_ = 0;  // it is written anew when it has grown to this
  std::string unreserved_;
  bool room_is_missing_ = false;  // the reserve may be had later
  bool was_torn_ = false;
  bool suspect_ = false;  // what the disk holds is not known any more; the next append writes another file
  std::map<std::pair<std::size_t, std::uint32_t>, core::Record> rows_;
};

}  // namespace understudy::journal

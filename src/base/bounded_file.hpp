#pragma once

#include "base/unique_fd.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy {

// A file of lines that only grows at its end, and not without bound: full, it becomes "NAME.old" in place of
// an older one, and a new file is begun. With a choice, "NAME.old" becomes what is chosen of both. It never
// takes a disk's last room, which is for what must not fail
// (the journal has a reserve of its own, and is written anew now and then). Of one thread.
class BoundedFile final {
 public:
  // Of the file system's room this much is left to others: the smaller of the two.
  static constexpr std::uint64_t kLeftFreeBytes = 16ULL << 20;
  static constexpr std::uint64_t kLeftFreeShare = 16;  // one part in so many

  // Of the lines of two full files, the oldest first, those that are kept: at most so many bytes, newlines
  // included.
  using Choice =
      std::function<std::vector<std::string>(std::vector<std::string> lines, std::uint64_t most_bytes)>;

  BoundedFile(std::filesystem::path file, std::uint64_t most_bytes, Choice choice = {});

  // Appends the line and a newline. Empty when it was written; else why not: then nothing more is attempted
  // for it, and the next line is tried again.
  [[nodiscard]] std::string write(std::string_view line);
  // -1 while there is none.
  [[nodiscard]] int descriptor() const { return fd_.get(); }
  [[nodiscard]] const std::filesystem::path& path() const { return file_; }

  [[nodiscard]] static std::filesystem::path old_of(const std::filesystem::path& file);
  // What is being chosen is written there; a writer that died leaves it behind.
  [[nodiscard]] static std::filesystem::path fresh_old_of(const std::filesystem::path& file);

 private:
  [[nodiscard]] bool open();
  [[nodiscard]] bool begin_anew();
  [[nodiscard]] bool keep_chosen();
  [[nodiscard]] bool leaves_room(std::size_t bytes) const;

  std::filesystem::path file_;
  std::uint64_t most_bytes_;
  Choice choice_;
  std::uint64_t size_bytes_ = 0;
  UniqueFd fd_;
  bool torn_ = false;  // the file ends in the middle of a line
};

// The last lines that such a file has, of the one before it as well: at most `most`, the oldest first. What
// is torn or cut is left out. Where a writer with a choice died, some may stand there twice.
[[nodiscard]] std::vector<std::string> last_lines(const std::filesystem::path& file, std::size_t most);

// A log that another process writes (opened with O_APPEND): when it is larger than `most_bytes`, the last
// `kept_bytes` of it go to "NAME.old" and it is emptied. Only a regular file of ours is touched, never by way
// of a link. True when it was emptied.
bool cut_back(const std::filesystem::path& file, std::uint64_t most_bytes, std::uint64_t kept_bytes);

}  // namespace understudy

#include "journal/file_journal.hpp"

#include "base/units.hpp"
#include "journal/format.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace understudy::journal {

namespace {

// When that cannot be done (a disk without room for another file), it goes on in its reserve, and the next
// attempt is so much later.
constexpr std::uint64_t kRetryBytes = 64ULL << 10;

std::string system_error(const std::string& what, const std::filesystem::path& file) {
  return what + " " + file.string() + ": " + std::strerror(errno);
}

Result<std::string> read_all(int fd, const std::filesystem::path& file) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return failure(system_error("cannot read", file));
  if (static_cast<std::uint64_t>(status.st_size) > kLargestBytes) {
    return failure(file.string() +
                   " is too large to be a journal; end everything with `understudy down` and start again");
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::pread(fd, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failure(system_error("cannot read", file));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace

FileJournal::FileJournal(std::filesystem::path file, core::Names names, Sync sync)
    : file_(std::move(file)), names_(std::move(names)), former_(names_), sync_(std::move(sync)) {}

Result<std::unique_ptr<FileJournal>> FileJournal::open(const std::filesystem::path& file,
                                                       const core::Names& names, Sync sync) {
  std::unique_ptr<FileJournal> journal(new FileJournal(file, names, std::move(sync)));
  journal->fd_ = UniqueFd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!journal->fd_) return failure(system_error("cannot open the journal", file));
  Result<std::string> text = read_all(journal->fd_.get(), file);
  if (!text) return tl::unexpected(text.error());
  // A file without a whole header was being created when the daemon died.
  const bool fresh = is_torn_header(*text);
  const Result<void> done = fresh ? journal->write_anew() : journal->take_over(*text);
  if (!done) return tl::unexpected(done.error());
  if (fresh && journal->room_is_missing_) {
    return failure("there is no room for the journal " + file.string() + ", which reserves " +
                   format_size(2 * kGrowthBytes) + " (" + journal->unreserved_ +
                   "); make room, or choose another --run-dir");
  }
  return journal;
}

Result<void> FileJournal::take_over(std::string_view text) {
  Result<Replayed> replayed = replay(text, names_);
  if (!replayed) return failure(file_.string() + ":" + replayed.error().message);
  for (const core::Record& record : replayed->records) keep(record);
  former_ = std::move(replayed->names);
  // No row is of a pool that has yet to be made. One that is there keeps the areas that it has.
  if (!rows_.empty()) {
    names_.areas = former_.areas;
    names_.area_bytes = former_.area_bytes;
  }
  suspect_ = replayed->older_form || former_ != names_;
  if (former_.guests != names_.guests || former_.apps != names_.apps) renumber();
  was_torn_ = replayed->torn;
  size_bytes_ = replayed->complete_bytes;
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes_)) != 0)
    return failure(system_error("cannot write", file_));
  anew_at_bytes_ = header_line(names_).size() + record_line(rows()).size() + kGrowthBytes;
  reserve();
  return {};
}

// The blocks behind the end of the file, as many as it needs until it is written anew and as many again. A
// disk that others fill then has room for every line, and for many a takeover after the moment when there is
// none for another file.
void FileJournal::reserve() {
  const std::uint64_t wanted = std::max(anew_at_bytes_, size_bytes_) + kGrowthBytes;
  int done = 0;
  while ((done = ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(wanted))) != 0 &&
         errno == EINTR) {
  }
  unreserved_ = done == 0 ? "" : std::strerror(errno);
  room_is_missing_ = done != 0 && errno != EOPNOTSUPP && errno != ENOSYS;
}

void FileJournal::renumber() {
  const core::Translation translation(former_, names_);
  const std::vector<core::Record> before = rows();
  rows_.clear();
  for (const core::Record& record : before) {
    const auto now = translation(record);
    if (now) {
      keep(*now);
    } else {
      gone_.push_back(record);
    }
  }
}

Result<void> FileJournal::append(std::span<const core::Record> records) {
  for (const core::Record& record : records) keep(record);
  if (suspect_) return write_anew();
  if (size_bytes_ >= anew_at_bytes_) {
    if (write_anew()) return {};
    anew_at_bytes_ = size_bytes_ + kRetryBytes;  // what there is is as good as before
  } else if (room_is_missing_) {
    reserve();
  }
  return write_line(record_line(records));
}

Result<void> FileJournal::write_line(const std::string& line) {
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t put =
        ::pwrite(fd_.get(), line.data() + done, line.size() - done, static_cast<off_t>(size_bytes_ + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      // What was written of the line is overwritten by the next one, or cut off as a torn last line.
      const std::string why = system_error("cannot write", file_);
      suspect_ = ::ftruncate(fd_.get(), static_cast<off_t>(size_bytes_)) != 0;
      reserve();           // cut off with what was written
      anew_at_bytes_ = 0;  // a file with one record per row may find the room that this line does not
      return failure(suspect_ ? why + " (nor cut it back)" : why);
    }
    done += static_cast<std::size_t>(put);
  }
  if (sync_(fd_.get()) != 0) {
    // The kernel may call the pages clean now without having written them: a second sync would prove nothing.
    suspect_ = true;
    return failure(system_error("cannot sync", file_));
  }
  size_bytes_ += line.size();
  return {};
}

// An error leaves the file, and what is thought of it, as they were.
Result<void> FileJournal::write_anew() {
  const std::filesystem::path next = file_.string() + ".new";
  UniqueFd fd(::open(next.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return failure(system_error("cannot write", next));
  std::string text = header_line(names_);
  if (!rows_.empty()) text += record_line(rows());
  std::swap(fd_, fd);
  const std::uint64_t old_size_bytes = std::exchange(size_bytes_, 0);
  const bool was_suspect = suspect_;
  Result<void> written = write_line(text);
  if (written && ::rename(next.c_str(), file_.c_str()) != 0)
    written = failure(system_error("cannot rename to", file_));
  if (!written) {
    std::swap(fd_, fd);
    size_bytes_ = old_size_bytes;
    suspect_ = was_suspect;
    ::unlink(next.c_str());  // half a file is of no use to anybody, and takes room
    fd.reset();
    reserve();
    return written;
  }
  suspect_ = false;
  anew_at_bytes_ = size_bytes_ + kGrowthBytes;
  fd.reset();  // the room of the old file is the new one's reserve
  reserve();
  return {};
}

std::vector<core::Record> FileJournal::rows() const {
  std::vector<core::Record> records;
  for (const auto& [key, record] : rows_) records.push_back(record);
  return records;
}

void FileJournal::keep(const core::Record& record) {
  struct Key {
    std::uint32_t operator()(const core::AreaRecord& r) const { return r.area.value; }
    std::uint32_t operator()(const core::GuestRecord& r) const { return r.guest.value; }
    std::uint32_t operator()(const core::AppRecord& r) const { return r.app.value; }
  };
  rows_.insert_or_assign(std::pair(record.index(), std::visit(Key{}, record)), record);
}

}  // namespace understudy::journal

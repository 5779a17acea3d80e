#include "journal/file_journal.hpp"

#include "journal/record_json.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace understudy::journal {

namespace {

constexpr std::string_view kMagic = "understudy-journal 1 ";
// The file is written anew, with one record per row, when it has grown to this.
constexpr std::uint64_t kCompactAtBytes = 4ULL << 20;
// No journal of ours comes near this; a larger file is not one.
constexpr std::uint64_t kLargestBytes = 64ULL << 20;

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320U : 0);
    table[i] = value;
  }
  return table;
}

// CRC-32 (IEEE 802.3), as in gzip.
std::uint32_t crc32(std::string_view text) {
  static constexpr auto kTable = crc_table();
  std::uint32_t value = ~0U;
  for (const char c : text) value = (value >> 8) ^ kTable[(value ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~value;
}

std::string hex(std::uint32_t value) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", value);
  return text;
}

std::string line_of(const std::string& payload) {
  return hex(crc32(payload)) + " " + payload + "\n";
}

// "CRC PAYLOAD" -> PAYLOAD, if the checksum holds.
std::optional<std::string_view> payload_of(std::string_view line) {
  if (line.size() < 10 || line[8] != ' ') return std::nullopt;
  std::uint32_t sum = 0;
  const auto [end, code] = std::from_chars(line.data(), line.data() + 8, sum, 16);
  if (code != std::errc() || end != line.data() + 8 || crc32(line.substr(9)) != sum) return std::nullopt;
  return line.substr(9);
}

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

FileJournal::FileJournal(std::filesystem::path file, std::string header, Sync sync)
    : file_(std::move(file)), header_(std::move(header)), sync_(std::move(sync)) {}

Result<std::unique_ptr<FileJournal>> FileJournal::open(const std::filesystem::path& file,
                                                       const std::string& setup_text, Sync sync) {
  std::unique_ptr<FileJournal> journal(
      new FileJournal(file, std::string(kMagic) + hex(crc32(setup_text)) + "\n", std::move(sync)));
  journal->fd_ = UniqueFd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!journal->fd_) return failure(system_error("cannot open the journal", file));
  Result<std::string> text = read_all(journal->fd_.get(), file);
  if (!text) return tl::unexpected(text.error());
  // A file shorter than its header was being created when the daemon died.
  const bool fresh = text->size() < journal->header_.size();
  const Result<void> done = fresh ? journal->write_anew() : journal->replay(*text);
  if (!done) return tl::unexpected(done.error());
  return journal;
}

Result<void> FileJournal::replay(std::string_view text) {
  const std::string way_out = "; end everything with `understudy down` (it needs no journal) and start again";
  if (!text.starts_with(kMagic))
    return failure(file_.string() + ":1: not an understudy journal of version 1" + way_out);
  if (!text.starts_with(header_)) {
    return failure(
        file_.string() +
        ":1: it was written under another configuration; start with that one, or end everything with "
        "`understudy down` first");
  }
  std::size_t at = header_.size();
  for (std::size_t number = 2; at < text.size(); ++number) {
    const std::size_t end = text.find('\n', at);
    const bool last = end == std::string_view::npos || end + 1 == text.size();
    const auto payload = end == std::string_view::npos ? std::nullopt : payload_of(text.substr(at, end - at));
    if (!payload && last) {
      was_torn_ = true;
      break;
    }
    if (!payload)
      return failure(file_.string() + ":" + std::to_string(number) + ": the checksum is wrong" + way_out);
    const Result<std::vector<core::Record>> records = decode(*payload);
    if (!records) {
      return failure(file_.string() + ":" + std::to_string(number) + ": " + records.error().message +
                     way_out);
    }
    for (const core::Record& record : *records) keep(record);
    at = end + 1;
  }
  size_bytes_ = at;
  if (::ftruncate(fd_.get(), static_cast<off_t>(at)) != 0)
    return failure(system_error("cannot write", file_));
  return {};
}

Result<void> FileJournal::append(std::span<const core::Record> records) {
  for (const core::Record& record : records) keep(record);
  if (suspect_ || size_bytes_ >= kCompactAtBytes) return write_anew();
  return write_line(line_of(encode({records.begin(), records.end()})));
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

Result<void> FileJournal::write_anew() {
  const std::filesystem::path next = file_.string() + ".new";
  UniqueFd fd(::open(next.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return failure(system_error("cannot write", next));
  std::string text = header_;
  if (!rows_.empty()) text += line_of(encode(rows()));
  std::swap(fd_, fd);
  const std::uint64_t old_size_bytes = std::exchange(size_bytes_, 0);
  Result<void> written = write_line(text);
  if (written && ::rename(next.c_str(), file_.c_str()) != 0)
    written = failure(system_error("cannot rename to", file_));
  if (!written) {
    std::swap(fd_, fd);
    size_bytes_ = old_size_bytes;
    suspect_ = true;
    return written;
  }
  suspect_ = false;
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

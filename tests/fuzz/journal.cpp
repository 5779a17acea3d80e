// The journal's file. The input is the file when it begins like one; otherwise it stands for one, so that the
// checksums do not keep everything else from being reached: every line is a payload that gets its checksum,
// except one that begins with '!', whose rest is written as it is. An input without an end of line ends torn.
#include "journal/file_journal.hpp"
#include "journal/format.hpp"
#include "journal/record_json.hpp"
#include "property.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include <boost/crc.hpp>

using namespace understudy;
using namespace understudy::journal;
using fuzz::check_error;

namespace {

namespace fs = std::filesystem;

const core::Names kNames{100, 128_MiB, {"alpha", "beta"}, {"db", "web"}};
constexpr std::string_view kMagic = "understudy-journal ";
constexpr std::size_t kMostErrorBytes = 400;

// In memory where that is possible: the journal is synced with every line.
class Place {
 public:
  Place() {
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    std::string name =
        ((memory ? fs::path("/dev/shm") : fs::temp_directory_path()) / "us-fuzz-XXXXXX").string();
    US_PROPERTY(::mkdtemp(name.data()) != nullptr, name);
    directory_ = name;
  }
  ~Place() {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
  [[nodiscard]] fs::path file() const { return directory_ / "journal"; }

 private:
  fs::path directory_;
};

void write_file(const fs::path& file, std::string_view text) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  US_PROPERTY(fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()),
              file.string());
}

std::string read_file(const fs::path& file) {
  std::string text(fs::file_size(file), '\0');
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  US_PROPERTY(fd && ::read(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()),
              file.string());
  return text;
}

std::string checksum(std::string_view text) {
  boost::crc_32_type crc;
  crc.process_bytes(text.data(), text.size());
  char out[9];
  std::snprintf(out, sizeof out, "%08x", static_cast<unsigned>(crc.checksum()));
  return out;
}

std::string header() {
  return header_line(kNames);
}

std::string file_of(std::string_view input) {
  if (input.starts_with(kMagic)) return std::string(input);
  std::string text = header();
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    const std::string_view line = input.substr(0, end);
    text += line.starts_with('!') ? std::string(line.substr(1)) : checksum(line) + " " + std::string(line);
    if (end == std::string_view::npos) break;
    text += '\n';
    input.remove_prefix(end + 1);
  }
  return text;
}

using Rows = std::map<std::pair<std::size_t, std::uint32_t>, core::Record>;

std::pair<std::size_t, std::uint32_t> key_of(const core::Record& record) {
  struct Number {
    std::uint32_t operator()(const core::AreaRecord& r) const { return r.area.value; }
    std::uint32_t operator()(const core::GuestRecord& r) const { return r.guest.value; }
    std::uint32_t operator()(const core::AppRecord& r) const { return r.app.value; }
  };
  return {record.index(), std::visit(Number{}, record)};
}

// The rows of whole lines, read in another way than the journal does.
std::vector<core::Record> rows_of(std::string_view text) {
  Rows rows;
  text.remove_prefix(header().size());
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    US_PROPERTY(end != std::string_view::npos && end >= 9, text);
    const std::string_view payload = text.substr(9, end - 9);
    const auto records = decode(payload);
    US_PROPERTY(records.has_value(), payload);
    const auto again = decode(encode(*records));
    US_PROPERTY(again && *again == *records, payload);
    for (const core::Record& record : *records) rows.insert_or_assign(key_of(record), record);
    text.remove_prefix(end + 1);
  }
  std::vector<core::Record> list;
  for (const auto& [key, record] : rows) list.push_back(record);
  return list;
}

// Whether it was opened.
bool check_file(const fs::path& file, const std::string& before) {
  write_file(file, before);
  const auto journal = FileJournal::open(file, kNames);
  const std::string after = read_file(file);
  if (!journal) {
    const std::string& message = journal.error().message;
    check_error(message, kMostErrorBytes);
    US_PROPERTY(message.starts_with(file.string() + ":"), message);
    US_PROPERTY(after == before, message);  // damage is left for whoever wants to look at it
    return false;
  }
  if (is_torn_header(before)) {  // it was being made
    US_PROPERTY(after == header() && (*journal)->rows().empty(), after);
    return true;
  }
  US_PROPERTY(before.starts_with(after) && after.ends_with('\n'), after);
  const std::string_view torn = std::string_view(before).substr(after.size());
  US_PROPERTY((*journal)->was_torn() == !torn.empty(), torn);
  US_PROPERTY(torn.find('\n') == std::string_view::npos || torn.find('\n') == torn.size() - 1, torn);
  // Under other names, or of the first version: its numbers are translated.
  if (after.starts_with(header())) US_PROPERTY((*journal)->rows() == rows_of(after), after);
  return true;
}

void check_append(const fs::path& file) {
  const core::Record record =
      core::GuestRecord{core::GuestId{1}, 9, core::GuestDurable::up, "a\n\x7f\"", true};
  std::vector<core::Record> wanted;
  {
    const auto journal = FileJournal::open(file, kNames);
    US_PROPERTY(journal && !(*journal)->was_torn(), file.string());
    US_PROPERTY((*journal)->append(std::vector{record}).has_value(), file.string());
    wanted = (*journal)->rows();
  }
  const auto again = FileJournal::open(file, kNames);
  US_PROPERTY(again && (*again)->rows() == wanted && !(*again)->was_torn(), file.string());
  US_PROPERTY(std::find(wanted.begin(), wanted.end(), record) != wanted.end(), file.string());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Place kPlace;
  const fs::path file = kPlace.file();
  const std::string whole = file_of(fuzz::text_of(data, size));
  if (!check_file(file, whole)) return 0;
  check_append(file);
  // The daemon may die at any byte that it writes: every beginning of a good file opens.
  const std::string good = is_torn_header(whole) ? header() : whole;
  for (const std::size_t part : {1U, 2U, 3U}) {
    const std::size_t cut = good.size() * part / 4 + size % 5;
    if (cut < good.size()) US_PROPERTY(check_file(file, good.substr(0, cut)), good);
  }
  return 0;
}

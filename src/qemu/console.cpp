#include "qemu/console.hpp"

#include "base/shown.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace understudy::qemu {

namespace json = boost::json;

namespace {

constexpr std::size_t kMostLineBytes = 200;
constexpr std::size_t kLinesAfterPanic = 1;
constexpr std::size_t kMostAnswerBytes = (kConsoleBytes + 2) / 3 * 4;
constexpr std::string_view kPanic = "Kernel panic - not syncing";
constexpr char kEscape = '\x1b';

static_assert((kConsoleBytes & (kConsoleBytes - 1)) == 0, "QEMU demands it");
static_assert(kMostWordsLines * (kMostLineBytes + 4) <= kMostWordsBytes);  // "..." and a line end

int value_of_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// Empty: it is not base64.
std::string from_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = value_of_digit(c);
    if (digit < 0) return "";
    bits = (bits << 6 | static_cast<unsigned>(digit)) & 0xffff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return bytes;
}

// Behind an escape sequence that begins at `at`: ESC [ ... letter; ESC ] ... BEL or ESC; ESC, perhaps one of
// the characters before '0', and one more.
std::size_t after_escape(std::string_view line, std::size_t at) {
  const std::size_t kind = at + 1;
  if (kind >= line.size()) return line.size();
  const bool longer = line[kind] >= ' ' && line[kind] < '0';
  if (line[kind] != '[' && line[kind] != ']') return std::min(kind + (longer ? 2 : 1), line.size());
  const bool title = line[kind] == ']';
  for (std::size_t i = kind + 1; i < line.size(); ++i) {
    if (title && line[i] == kEscape) return std::min(i + 2, line.size());
    if (title ? line[i] == '\a' : line[i] >= '@' && line[i] <= '~') return i + 1;
  }
  return line.size();
}

std::string without_escapes(std::string_view line) {
  std::string out;
  for (std::size_t i = 0; i < line.size();) {
    if (line[i] == kEscape) {
      i = after_escape(line, i);
      continue;
    }
    if (line[i] != '\r') out += line[i] == '\t' ? ' ' : line[i];
    ++i;
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

// Registers and code bytes tell only whoever has the whole report.
bool is_dump(std::string_view line) {
  if (const std::size_t stamp = line.find("] "); line.starts_with('[') && stamp != std::string_view::npos)
    line.remove_prefix(stamp + 2);
  constexpr std::array<std::string_view, 13> kDumps{
      "RSP:", "RAX:", "RDX:", "RBP:", "R10:", "R13:", "FS:", "CS:", "CR2:", "DR0:", "DR3:", "Code:", "PKRU:"};
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return std::any_of(kDumps.begin(), kDumps.end(), [line](auto dump) { return line.starts_with(dump); });
}

std::vector<std::string> lines_of(std::string_view written) {
  std::vector<std::string> lines;
  while (!written.empty()) {
    const std::size_t end = std::min(written.find('\n'), written.size());
    std::string line = without_escapes(written.substr(0, end));
    if (!line.empty() && !is_dump(line)) lines.push_back(shown(line, kMostLineBytes));
    written.remove_prefix(std::min(end + 1, written.size()));
  }
  return lines;
}

}  // namespace

json::object console_question() {
  return {{"device", kConsole}, {"size", kConsoleBytes}, {"format", "base64"}};
}

std::string read_console(const json::value& reply) {
  const json::string* const text = reply.if_string();
  return text == nullptr || text->size() > kMostAnswerBytes ? "" : from_base64(*text);
}

std::string last_words(std::string_view written) {
  // A ring that is full has lost the beginning of its first line.
  const std::size_t first = written.size() < kConsoleBytes ? std::string_view::npos : written.find('\n');
  if (first != std::string_view::npos) written.remove_prefix(first + 1);
  const std::vector<std::string> lines = lines_of(written);
  std::size_t end = lines.size();
  for (std::size_t i = lines.size(); i-- > 0;) {
    if (lines[i].find(kPanic) == std::string::npos) continue;
    end = std::min(end, i + 1 + kLinesAfterPanic);
    break;
  }
  std::string words;
  for (std::size_t i = end - std::min(end, kMostWordsLines); i < end; ++i) {
    if (!words.empty()) words += '\n';
    words += lines[i];
  }
  return words;
}

}  // namespace understudy::qemu

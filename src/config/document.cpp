#include "config/document.hpp"

#include "base/shown.hpp"
#include "config/limits.hpp"
#include "config/toml_library.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

// The TOML library stops at the first syntax error, and a person wants to see them all. So the broken
// statement is blanked and the rest read again, until it is whole. Where a statement starts is found by
// reading ever shorter beginnings of the text: the longest one that is whole ends right before it. A line
// that is blanked may be the head of a statement of several lines; what then comes directly after it and does
// not look like a statement is its tail, and is blanked without a word.
namespace understudy::config {

namespace {

constexpr std::size_t kMostQuotedBytes = 60;

Where where(const toml::source_region& region) {
  return {region.begin.line, region.begin.column};
}

Value convert(const toml::node& node, int depth) {
  Value value;
  value.at = where(node.source());
  if (const auto* text = node.as_string()) {
    value.kind = Value::Kind::string;
    value.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = Value::Kind::integer;
    value.integer = integer->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = Value::Kind::boolean;
    value.boolean = boolean->get();
  } else if (node.is_floating_point()) {
    value.kind = Value::Kind::floating;
  } else if (const auto* array = node.as_array()) {
    value.kind = Value::Kind::array;
    if (depth >= kDeepest) return value;
    value.items.reserve(array->size());
    for (const toml::node& item : *array) value.items.push_back(convert(item, depth + 1));
  } else if (const auto* table = node.as_table()) {
    value.kind = Value::Kind::table;
    if (depth >= kDeepest) return value;
    value.entries.reserve(table->size());
    for (const auto& [key, item] : *table) {
      value.entries.push_back({std::string(key.str()), where(key.source()), convert(item, depth + 1)});
    }
  } else {
    value.kind = Value::Kind::date_or_time;
  }
  return value;
}

class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {
    std::size_t start = 0;
    while (start <= text_.size()) {
      starts_.push_back(start);
      const std::size_t end = text_.find('\n', start);
      if (end == std::string::npos) break;
      start = end + 1;
    }
  }
  [[nodiscard]] std::size_t count() const { return starts_.size(); }
  [[nodiscard]] const std::string& text() const { return text_; }
  // Lines are numbered from 1.
  [[nodiscard]] std::string_view line(std::size_t number) const {
    if (number < 1 || number > count()) return {};
    const std::size_t start = starts_[number - 1];
    const std::size_t end = number < count() ? starts_[number] - 1 : text_.size();
    return std::string_view(text_).substr(start, end - start);
  }
  [[nodiscard]] std::string_view before(std::size_t number) const {
    return std::string_view(text_).substr(0, starts_[number - 1]);
  }
  void blank(std::size_t number) {
    const std::string_view old = line(number);
    std::fill_n(text_.begin() + static_cast<std::ptrdiff_t>(starts_[number - 1]), old.size(), ' ');
  }

 private:
  std::string text_;
  std::vector<std::size_t> starts_;
};

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool starts_statement(std::string_view line) {
  line = trimmed(line);
  if (line.empty() || line.front() == '#' || line.front() == '[') return true;
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return false;
  return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(equals), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_-. \t").find(c) != std::string_view::npos;
  });
}

bool is_header(std::string_view line) {
  return trimmed(line).starts_with('[');
}

// What is most often meant by a statement that is not TOML; `line` is its first, `noticed` where it was
// noticed.
std::string remedy(std::string_view line, std::size_t number, std::size_t noticed,
                   std::string_view description) {
  if (description.find("redefine") != std::string_view::npos) {
    return is_header(line) ? "it stands here a second time: put both together, or write [[guest]] and "
                             "[[application]] with double brackets"
                           : "it stands here a second time: remove one of the two";
  }
  if (noticed > number) return fmt::format("what begins in line {} is not closed", number);
  if (is_header(line))
    return "a table is written [pool], [image] or [host], a guest [[guest]], an application "
           "[[application]]";
  line = trimmed(line.substr(0, line.find('#')));
  const std::size_t equals = line.find('=');
  if (equals != std::string_view::npos && equals > 0 && starts_statement(line)) {
    const std::string_view key = trimmed(line.substr(0, equals));
    const std::string_view value = trimmed(line.substr(equals + 1));
    if (value.empty()) return fmt::format("write a value after {} =", shown(key, kMostQuotedBytes));
    if (std::count(value.begin(), value.end(), '"') % 2 != 0) return "a double quote is missing";
    if (std::isalnum(static_cast<unsigned char>(value.front())) != 0 || value.front() == '/') {
      return fmt::format("text, sizes and durations stand in double quotes: {} = {}",
                         shown(key, kMostQuotedBytes), in_quotes(value));
    }
  }
  return "correct or remove this line; docs/configuration.md shows the form";
}

std::string_view without_prefix(std::string_view description) {
  constexpr std::string_view kPrefix = "Error while parsing ";
  if (description.substr(0, kPrefix.size()) == kPrefix) description.remove_prefix(kPrefix.size());
  return description;
}

// The first line of the statement that is broken at line `at`.
std::size_t statement_start(const Lines& lines, std::size_t at) {
  const std::size_t least = at > kLongestStatement ? at - kLongestStatement : 1;
  for (std::size_t start = at; start >= least; --start) {
    if (toml::parse(lines.before(start), std::string_view())) return start;
  }
  return at;
}

std::optional<std::size_t> line_with_many_dots(const Lines& lines) {
  for (std::size_t number = 1; number <= lines.count(); ++number) {
    const std::string_view line = lines.line(number);
    if (static_cast<std::size_t>(std::count(line.begin(), line.end(), '.')) > kMostDots) return number;
  }
  return std::nullopt;
}

struct Statement {
  std::size_t first = 0;
  std::size_t last = 0;
};

// The statement that is broken at line `at`. It ends before a line that looks like the next one, even when it
// was never closed before it. What stands under a broken table header goes with it: it would belong to the
// table before, and be wrong there.
Statement broken_statement(const Lines& lines, std::size_t at) {
  Statement statement;
  statement.first = statement.last = statement_start(lines, at);
  if (is_header(lines.line(statement.first))) {
    while (statement.last < lines.count() && !is_header(lines.line(statement.last + 1))) ++statement.last;
  } else {
    while (statement.last < at && !starts_statement(lines.line(statement.last + 1))) ++statement.last;
  }
  return statement;
}

}  // namespace

const char* kind_name(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::string: return "text in quotes";
    case Value::Kind::integer: return "a whole number";
    case Value::Kind::floating: return "a number with a fraction";
    case Value::Kind::boolean: return "a boolean (true or false)";
    case Value::Kind::date_or_time: return "a date or time";
    case Value::Kind::array: return "a list";
    case Value::Kind::table: return "a table";
  }
  return "";
}

Document read_document(std::string_view text, Report& report) {
  Document document;
  if (text.size() > kLargestFileBytes) {
    report.add({1, 1},
               fmt::format("the file has {} bytes, a configuration has at most {}; is this the right file?",
                           text.size(), kLargestFileBytes));
    document.damaged = true;
    return document;
  }
  Lines lines(text);
  if (const auto number = line_with_many_dots(lines)) {
    report.add({static_cast<std::uint32_t>(*number), 1},
               fmt::format("more than {} dots in one line; break the line or shorten it", kMostDots));
    document.damaged = true;
    return document;
  }
  std::size_t blanked = 0;  // the last line of the last broken statement
  std::size_t reported = 0;
  for (std::size_t pass = 0; pass < kMostPasses && reported < kMostSyntaxErrors; ++pass) {
    const toml::parse_result result = toml::parse(lines.text(), std::string_view());
    if (result) {
      document.root = convert(result.table(), 0);
      return document;
    }
    document.damaged = true;
    const toml::parse_error& error = result.error();
    const Where place = where(error.source());
    const Statement broken = broken_statement(lines, std::clamp<std::size_t>(place.line, 1, lines.count()));
    const bool tail =
        blanked != 0 && broken.first == blanked + 1 && !starts_statement(lines.line(broken.first));
    if (!tail) {
      const std::string_view description = without_prefix(error.description());
      report.add(place, fmt::format("not valid TOML, {}; {}", description,
                                    remedy(lines.line(broken.first), broken.first, place.line, description)));
      ++reported;
    }
    for (std::size_t number = broken.first; number <= broken.last; ++number) lines.blank(number);
    blanked = broken.last;
  }
  return document;
}

}  // namespace understudy::config

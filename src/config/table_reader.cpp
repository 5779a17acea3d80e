#include "config/table_reader.hpp"

#include "base/utf8.hpp"
#include "config/limits.hpp"
#include "config/suggest.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::config {

namespace {

bool usable_name(std::string_view name) {
  if (name.empty() || name.size() > kLongestName || name.front() == '-') return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

}  // namespace

bool has_controls(std::string_view text) {
  while (!text.empty()) {
    const std::size_t bytes = std::max<std::size_t>(1, utf8_character_bytes(text));
    const std::string_view character = text.substr(0, bytes);
    if (is_control(character) && character != "\n" && character != "\t") return true;
    text.remove_prefix(bytes);
  }
  return false;
}

const Value* TableReader::find(std::string_view key) const {
  for (const Entry& entry : table_.entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

Where TableReader::at(std::string_view key) const {
  const Value* value = find(key);
  return value != nullptr ? value->at : at_;
}

const Value* TableReader::take(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  return find(key);
}

const Value* TableReader::take(std::string_view key, Value::Kind kind, std::string_view example) {
  const Value* value = take(key);
  if (value == nullptr || value->kind == kind) return value;
  const bool text_wanted = kind == Value::Kind::string;
  report_.add(value->at,
              fmt::format("{} is {}, it has to be {}; write {} = {}{}{}", key, kind_name(value->kind),
                          kind_name(kind), key, text_wanted ? "\"" : "", example, text_wanted ? "\"" : ""));
  return nullptr;
}

bool TableReader::size(std::string_view key, Bytes& into, Bytes least) {
  const Value* value = take(key, Value::Kind::string, "512 MiB");
  if (value == nullptr) return false;
  const auto bytes = parse_size(value->text);
  if (!bytes) {
    report_.add(value->at, fmt::format("{}: {}", key, bytes.error().message));
  } else if (*bytes < least) {
    report_.add(value->at, fmt::format("{} is {}, it has to be at least {}; raise it", key,
                                       format_size(*bytes), format_size(least)));
  } else if (*bytes > kLargestSize) {
    report_.add(value->at, fmt::format("{} is {}, it may be at most {}; lower it", key, format_size(*bytes),
                                       format_size(kLargestSize)));
  } else {
    into = *bytes;
    return true;
  }
  return false;
}

bool TableReader::duration(std::string_view key, Duration& into, Duration least, Duration most) {
  const Value* value = take(key, Value::Kind::string, "200 ms");
  if (value == nullptr) return false;
  const auto duration = parse_duration(value->text);
  if (!duration) {
    report_.add(value->at, fmt::format("{}: {}", key, duration.error().message));
  } else if (*duration < least || *duration > most) {
    report_.add(value->at,
                fmt::format("{} is {}, write a duration from {} to {}", key, format_duration(*duration),
                            format_duration(least), format_duration(most)));
  } else {
    into = *duration;
    return true;
  }
  return false;
}

bool TableReader::integer(std::string_view key, std::int64_t& into, std::int64_t least, std::int64_t most) {
  const Value* value =
      take(key, Value::Kind::integer, std::to_string(std::clamp<std::int64_t>(1, least, most)));
  if (value == nullptr) return false;
  if (value->integer < least || value->integer > most) {
    report_.add(value->at,
                fmt::format("{} is {}, write a number from {} to {}", key, value->integer, least, most));
    return false;
  }
  into = value->integer;
  return true;
}

bool TableReader::count(std::string_view key, std::uint32_t& into, std::uint32_t least, std::uint32_t most) {
  std::int64_t number = 0;
  if (!integer(key, number, least, most)) return false;
  into = static_cast<std::uint32_t>(number);
  return true;
}

bool TableReader::port(std::string_view key, std::uint16_t& into) {
  std::int64_t number = 0;
  if (!integer(key, number, 1, 65535)) return false;
  into = static_cast<std::uint16_t>(number);
  return true;
}

bool TableReader::flag(std::string_view key, bool& into) {
  const Value* value = take(key, Value::Kind::boolean, "true");
  if (value == nullptr) return false;
  into = value->boolean;
  return true;
}

bool TableReader::text(std::string_view key, std::string& into) {
  const Value* value = take(key, Value::Kind::string, "...");
  if (value == nullptr) return false;
  if (value->text.empty()) {
    report_.add(value->at, fmt::format("{} is empty; write a text, or leave the key out", key));
  } else if (has_controls(value->text)) {
    report_.add(value->at,
                fmt::format("{} has a control character in it; only newline and tab can be passed on", key));
  } else if (value->text.size() > kLongestArgument) {
    report_.add(value->at, fmt::format("{} has {} bytes, it may have at most {}; shorten it", key,
                                       value->text.size(), kLongestArgument));
  } else {
    into = value->text;
    return true;
  }
  return false;
}

bool TableReader::name(std::string_view key, std::string& into) {
  const Value* value = take(key, Value::Kind::string, "alpha");
  if (value == nullptr) return false;
  if (!usable_name(value->text)) {
    report_.add(value->at,
                fmt::format("{} {} cannot be used; write 1 to {} of a-z, 0-9 and -, not beginning with -",
                            key, in_quotes(value->text), kLongestName));
    return false;
  }
  into = value->text;
  return true;
}

bool TableReader::command(std::string_view key, std::vector<std::string>& into, std::string_view place) {
  const Value* value = take(key, Value::Kind::array, "[\"/usr/bin/program\", \"argument\"]");
  if (value == nullptr) return false;
  if (value->items.empty()) {
    report_.add(value->at,
                fmt::format("{} is empty; write {} = [\"/usr/bin/program\", \"argument\"]", key, key));
    return false;
  }
  if (value->items.size() > kMostArguments) {
    report_.add(value->at, fmt::format("{} has {} arguments, it may have at most {}; start a script instead",
                                       key, value->items.size(), kMostArguments));
    return false;
  }
  std::vector<std::string> words;
  for (const Value& item : value->items) {
    if (item.kind != Value::Kind::string) {
      report_.add(item.at,
                  fmt::format("an argument in {} is {}, every one has to be text in quotes; write it as "
                              "\"...\"",
                              key, kind_name(item.kind)));
    } else if (has_controls(item.text)) {
      report_.add(item.at,
                  fmt::format("an argument in {} has a control character in it; only newline and tab can be "
                              "passed on",
                              key));
    } else if (item.text.size() > kLongestArgument) {
      report_.add(item.at, fmt::format("an argument in {} has {} bytes, it may have at most {}; shorten it",
                                       key, item.text.size(), kLongestArgument));
    } else if (words.empty() && &item == &value->items.front() && !item.text.starts_with('/')) {
      report_.add(item.at, fmt::format("the program {} in {} is not an absolute path; write where it is {}",
                                       in_quotes(item.text), key, place));
    } else {
      words.push_back(item.text);
    }
  }
  if (words.size() != value->items.size()) return false;
  into = std::move(words);
  return true;
}

void TableReader::bad_choice(const Value& value, std::string_view key,
                             const std::vector<std::string_view>& names) {
  std::string list;
  for (const std::string_view name : names) list += fmt::format("{}\"{}\"", list.empty() ? "" : " or ", name);
  report_.add(value.at, fmt::format("{} is {}; write {}", key, in_quotes(value.text), list));
}

const Value* TableReader::table(std::string_view key) {
  return take(key, Value::Kind::table, "{ ... }");
}

const Value* TableReader::list(std::string_view key) {
  return take(key, Value::Kind::array, "[ ... ]");
}

const Value* TableReader::tables(std::string_view key) {
  const Value* value = take(key);
  if (value == nullptr) return nullptr;
  const bool good = value->kind == Value::Kind::array &&
                    std::all_of(value->items.begin(), value->items.end(),
                                [](const Value& item) { return item.kind == Value::Kind::table; });
  if (good) return value;
  report_.add(value->at,
              fmt::format("{} is written for each one with double brackets; write [[{}]]", key, key));
  return nullptr;
}

bool TableReader::require(std::string_view key, std::string_view example) {
  if (take(key) != nullptr) return true;
  if (!damaged_) report_.add(at_, fmt::format("{} has no {}; write {} = {}", label_, key, key, example));
  return false;
}

void TableReader::finish() {
  for (const Entry& entry : table_.entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    std::string advice = did_you_mean(entry.key, known_);
    if (advice.empty()) {
      for (const std::string_view key : known_)
        advice += fmt::format("{}{}", advice.empty() ? "" : ", ", key);
      advice = "; remove it, the keys here are " + advice;
    }
    report_.add(entry.at, fmt::format("{} has no key {}{}", label_, in_quotes(entry.key), advice));
  }
}

}  // namespace understudy::config

#pragma once

#include "config/document.hpp"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace understudy::config {

// Whether there is a control character in the text, other than newline and tab: the agent's protocol passes
// text on as it is, and takes nothing that could drive a terminal.
[[nodiscard]] bool has_controls(std::string_view text);

// Reads one table key by key. Every getter reports a value that cannot be used, and returns true when the key
// is there and good; otherwise it leaves `into` as it was. finish() then reports the keys that nobody asked
// for.
class TableReader {
 public:
  // `label` names the table in messages: "[pool]", "[[guest]]", "address".
  TableReader(const Value& table, Where at, std::string label, Report& report, bool damaged)
      : table_(table), at_(at), label_(std::move(label)), report_(report), damaged_(damaged) {}

  [[nodiscard]] Where table_at() const { return at_; }
  [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }
  // Where the key's value stands; where the table stands, when the key is not there.
  [[nodiscard]] Where at(std::string_view key) const;

  bool size(std::string_view key, Bytes& into, Bytes least);
  bool duration(std::string_view key, Duration& into, Duration least, Duration most);
  bool count(std::string_view key, std::uint32_t& into, std::uint32_t least, std::uint32_t most);
  bool integer(std::string_view key, std::int64_t& into, std::int64_t least, std::int64_t most);
  bool port(std::string_view key, std::uint16_t& into);
  bool flag(std::string_view key, bool& into);
  bool text(std::string_view key, std::string& into);
  bool name(std::string_view key, std::string& into);  // [a-z0-9-], 1 to 32
  // A program and its arguments; the program's path is absolute. `place` says where it is, with an example.
  bool command(std::string_view key, std::vector<std::string>& into,
               std::string_view place = "in the guest, such as \"/usr/bin/redis-server\"");
  template <class Choice>
  bool choice(std::string_view key, Choice& into,
              std::initializer_list<std::pair<std::string_view, Choice>> choices);
  // The value itself when it is a table or a list (of any length), else nothing.
  const Value* table(std::string_view key);
  const Value* list(std::string_view key);
  // For the tables of the file: [[KEY]] gives a list of tables.
  const Value* tables(std::string_view key);

  // Reports the key as missing unless it is there; `example` is what could be written. Returns whether it is
  // there.
  bool require(std::string_view key, std::string_view example);
  void finish();

  // A reader for a table inside this one.
  [[nodiscard]] TableReader inner(const Value& value, std::string label) const {
    return {value, value.at, std::move(label), report_, damaged_};
  }
  [[nodiscard]] Report& report() { return report_; }
  [[nodiscard]] bool damaged() const { return damaged_; }

 private:
  const Value* find(std::string_view key) const;
  const Value* take(std::string_view key);  // find, and remember that the key is known
  const Value* take(std::string_view key, Value::Kind kind, std::string_view example);
  void bad_choice(const Value& value, std::string_view key, const std::vector<std::string_view>& names);

  const Value& table_;
  Where at_;
  std::string label_;
  Report& report_;
  bool damaged_;
  std::vector<std::string_view> known_;
};

template <class Choice>
bool TableReader::choice(std::string_view key, Choice& into,
                         std::initializer_list<std::pair<std::string_view, Choice>> choices) {
  std::vector<std::string_view> names;
  for (const auto& [name, meaning] : choices) names.push_back(name);
  const Value* value = take(key, Value::Kind::string, names.front());
  if (value == nullptr) return false;
  for (const auto& [name, meaning] : choices) {
    if (value->text == name) {
      into = meaning;
      return true;
    }
  }
  bad_choice(*value, key, names);
  return false;
}

}  // namespace understudy::config

#pragma once

#include "config/report.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

struct Entry;

// A TOML value with its place. A small tree of our own keeps the TOML library in one file and the depth
// bounded: what is nested deeper than any key of ours comes as an empty table or array.
struct Value {
  enum class Kind { string, integer, floating, boolean, date_or_time, array, table };
  Kind kind = Kind::table;
  Where at;
  std::string text;            // string
  std::int64_t integer = 0;    // integer
  bool boolean = false;        // boolean
  std::vector<Value> items;    // array
  std::vector<Entry> entries;  // table
};

struct Entry {
  std::string key;
  Where at;
  Value value;
};

// "text in quotes", "a whole number", ...: for messages about a wrong type.
[[nodiscard]] const char* kind_name(Value::Kind kind);

struct Document {
  Value root;
  // Statements with syntax errors were left out, so nothing may be concluded from what is not there.
  bool damaged = false;
};

// Never fails: what cannot be read is reported and left out.
[[nodiscard]] Document read_document(std::string_view text, Report& report);

}  // namespace understudy::config

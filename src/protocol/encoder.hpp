#pragma once

#include "base/error.hpp"
#include "protocol/fields.hpp"
#include "protocol/text.hpp"

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

namespace understudy::protocol {

// Writes the fields of one message (fields.hpp) into a JSON object; the first field beyond its limit is kept
// as the error.
class Encoder {
 public:
  explicit Encoder(std::string_view message) : where_(message) {}

  template <class T>
  void number(std::string_view name, const T& value, std::uint64_t most, std::uint64_t least = 0) {
    const auto number = static_cast<std::uint64_t>(value);
    if (number < least || number > most) {
      return fail(name, std::to_string(number) + " is not within " + std::to_string(least) + " to " +
                            std::to_string(most));
    }
    object_[name] = number;
  }
  void flag(std::string_view name, bool value) { object_[name] = value; }
  template <class T, std::size_t N>
  void choice(std::string_view name, T value, const std::array<std::string_view, N>& words) {
    object_[name] = words.at(static_cast<std::size_t>(value));
  }
  void text(std::string_view name, std::string_view value, std::size_t most_bytes) {
    object_[name] = clean_line(value, most_bytes);
  }
  void tail(std::string_view name, std::string_view value, std::size_t most_bytes) {
    object_[name] = clean_tail(value, most_bytes);
  }
  void exact(std::string_view name, std::string_view value, std::size_t most_bytes) {
    if (auto checked = string(name, value, most_bytes)) object_[name] = *checked;
  }
  void exacts(std::string_view name, const std::vector<std::string>& values, std::size_t most_items,
              std::size_t most_bytes) {
    if (!count(name, values.size(), most_items)) return;
    boost::json::array out;
    for (const std::string& value : values) {
      if (auto checked = string(name, value, most_bytes)) out.emplace_back(*checked);
    }
    object_[name] = std::move(out);
  }
  template <class T>
  void numbers(std::string_view name, const std::vector<T>& values, std::size_t most_items, std::uint64_t) {
    if (!count(name, values.size(), most_items)) return;
    object_[name] = boost::json::array(values.begin(), values.end());
  }
  template <class T>
  void object(std::string_view name, const T& value) {
    object_[name] = nested(name, value);
  }
  template <class T>
  void list(std::string_view name, const std::vector<T>& values, std::size_t most_items) {
    if (!count(name, values.size(), most_items)) return;
    boost::json::array out;
    for (const T& value : values) out.emplace_back(nested(name, value));
    object_[name] = std::move(out);
  }

  boost::json::object& result() { return object_; }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  template <class T>
  boost::json::object nested(std::string_view name, const T& value) {
    Encoder inner(where_ + "." + std::string(name));
    fields(inner, value);
    if (inner.error_ && !error_) error_ = inner.error_;
    return std::move(inner.object_);
  }
  std::optional<std::string_view> string(std::string_view name, std::string_view value,
                                         std::size_t most_bytes) {
    if (value.size() > most_bytes) {
      fail(name, std::to_string(value.size()) + " bytes are more than the " + std::to_string(most_bytes) +
                     " that fit a message");
      return std::nullopt;
    }
    if (clean_text(value, most_bytes) != value) {
      fail(name, "the text holds control characters or is not UTF-8");
      return std::nullopt;
    }
    return value;
  }
  bool count(std::string_view name, std::size_t items, std::size_t most_items) {
    if (items <= most_items) return true;
    fail(name, std::to_string(items) + " entries are more than the " + std::to_string(most_items) +
                   " that fit a message");
    return false;
  }
  void fail(std::string_view name, std::string what) {
    if (!error_) error_ = Error{where_ + "." + std::string(name) + ": " + std::move(what)};
  }

  std::string where_;
  boost::json::object object_;
  std::optional<Error> error_;
};

}  // namespace understudy::protocol

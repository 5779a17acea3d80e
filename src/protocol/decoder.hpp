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

// Reads the fields of one message (fields.hpp) out of a JSON object; the first thing wrong is kept as the
// error and the message is then refused as a whole.
class Decoder {
 public:
  Decoder(const boost::json::object& object, std::string where) : object_(object), where_(std::move(where)) {}

  template <class T>
  void number(std::string_view name, T& value, std::uint64_t most, std::uint64_t least = 0) {
    if (const auto* found = find(name)) value = static_cast<T>(integer(name, *found, most, least));
  }
  void flag(std::string_view name, bool& value) {
    const auto* found = find(name);
    if (found == nullptr) return;
    if (!found->is_bool()) return fail(name, "must be true or false");
    value = found->get_bool();
  }
  template <class T, std::size_t N>
  void choice(std::string_view name, T& value, const std::array<std::string_view, N>& words) {
    const auto* found = find(name);
    if (found == nullptr) return;
    std::string known;
    for (std::size_t i = 0; i < N; ++i) {
      if (found->is_string() && std::string_view(found->get_string()) == words[i]) {
        value = static_cast<T>(i);
        return;
      }
      known += (i == 0 ? "" : ", ") + std::string(words[i]);
    }
    fail(name, "must be one of " + known);
  }
  void text(std::string_view name, std::string& value, std::size_t most_bytes) {
    if (const auto* found = find(name)) value = clean_line(string(name, *found, most_bytes), most_bytes);
  }
  void tail(std::string_view name, std::string& value, std::size_t most_bytes) {
    if (const auto* found = find(name)) value = clean_text(string(name, *found, most_bytes), most_bytes);
  }
  void exact(std::string_view name, std::string& value, std::size_t most_bytes) {
    if (const auto* found = find(name)) value = exact_string(name, *found, most_bytes);
  }
  void exacts(std::string_view name, std::vector<std::string>& values, std::size_t most_items,
              std::size_t most_bytes) {
    const auto* items = array(name, most_items);
    if (items == nullptr) return;
    values.clear();
    for (const auto& item : *items) values.emplace_back(exact_string(name, item, most_bytes));
  }
  template <class T>
  void numbers(std::string_view name, std::vector<T>& values, std::size_t most_items, std::uint64_t most) {
    const auto* items = array(name, most_items);
    if (items == nullptr) return;
    values.clear();
    for (const auto& item : *items) values.push_back(static_cast<T>(integer(name, item, most, 0)));
  }
  template <class T>
  void object(std::string_view name, T& value) {
    if (const auto* found = find(name)) nested(name, *found, value);
  }
  template <class T>
  void list(std::string_view name, std::vector<T>& values, std::size_t most_items) {
    const auto* items = array(name, most_items);
    if (items == nullptr) return;
    values.clear();
    for (const auto& item : *items) {
      nested(name, item, values.emplace_back());
      if (error_) return;
    }
  }

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  const boost::json::value* find(std::string_view name) {
    if (error_) return nullptr;
    const auto* found = object_.if_contains(name);
    if (found == nullptr) fail(name, "is missing");
    return found;
  }
  // A whole number; 1.0 and 1e3 are refused, for no encoder of ours writes them and doubles lose digits.
  std::uint64_t integer(std::string_view name, const boost::json::value& value, std::uint64_t most,
                        std::uint64_t least) {
    std::optional<std::uint64_t> number;
    if (value.is_uint64()) number = value.get_uint64();
    if (value.is_int64() && value.get_int64() >= 0) number = static_cast<std::uint64_t>(value.get_int64());
    if (!number || *number < least || *number > most) {
      fail(name, "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
      return least;
    }
    return *number;
  }
  std::string_view string(std::string_view name, const boost::json::value& value, std::size_t most_bytes) {
    if (!value.is_string()) {
      fail(name, "must be a text");
      return {};
    }
    const std::string_view text = value.get_string();
    if (text.size() > most_bytes) {
      fail(name, "is longer than " + std::to_string(most_bytes) + " bytes");
      return {};
    }
    return text;
  }
  std::string exact_string(std::string_view name, const boost::json::value& value, std::size_t most_bytes) {
    const std::string_view text = string(name, value, most_bytes);
    if (clean_text(text, most_bytes) != text) fail(name, "holds control characters");
    return std::string(text);
  }
  const boost::json::array* array(std::string_view name, std::size_t most_items) {
    const auto* found = find(name);
    if (found == nullptr) return nullptr;
    const auto* items = found->if_array();
    if (items != nullptr && items->size() <= most_items) return items;
    fail(name, "must be a list of at most " + std::to_string(most_items) + " entries");
    return nullptr;
  }
  template <class T>
  void nested(std::string_view name, const boost::json::value& value, T& out) {
    if (!value.is_object()) return fail(name, "must be an object");
    Decoder inner(value.get_object(), where_ + "." + std::string(name));
    fields(inner, out);
    if (inner.error_) error_ = inner.error_;
  }
  void fail(std::string_view name, std::string_view what) {
    if (!error_) error_ = Error{where_ + "." + std::string(name) + " " + std::string(what)};
  }

  const boost::json::object& object_;
  std::string where_;
  std::optional<Error> error_;
};

}  // namespace understudy::protocol

#pragma once

#include "base/units.hpp"
#include "core/records.hpp"
#include "core/setup.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace understudy::core {

// What the numbers in a journal stand for. A daemon with another configuration may have others for the same
// guests and applications: what stays is the names.
struct Names {
  std::uint32_t areas = 0;
  Bytes area_bytes = 0;
  std::vector<std::string> guests;
  std::vector<std::string> apps;  // and the twins of the hot standby ones behind them
  bool operator==(const Names&) const = default;
};
[[nodiscard]] Names names_of(const Setup& setup);

// Turns records under the numbers of one configuration into records under those of another. Where a guest or
// an application that is no more stands for the past or for a wish, it is left out.
class Translation {
 public:
  Translation(const Names& from, const Names& to);
  // Nothing: the record is about a guest or an application that is no more, or it says that one has
  // something.
  [[nodiscard]] std::optional<Record> operator()(const Record& record) const;

 private:
  [[nodiscard]] std::optional<Record> translated(AreaRecord record) const;
  [[nodiscard]] std::optional<Record> translated(GuestRecord record) const;
  [[nodiscard]] std::optional<Record> translated(AppRecord record) const;

  std::vector<std::optional<std::uint32_t>> guests_;  // by the former number
  std::vector<std::optional<std::uint32_t>> apps_;
};

}  // namespace understudy::core

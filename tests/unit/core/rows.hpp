#pragma once

#include "stage.hpp"

#include <map>
#include <utility>
#include <vector>

namespace understudy::core {

// The rows of a journal: the last record of each.
class Rows {
 public:
  void watch(Stage& stage) {
    stage.on_step = [this](const Event&, const Outputs& out) {
      for (const Record& record : out.journal) rows_[key(record)] = record;
    };
  }
  [[nodiscard]] std::vector<Record> all() const {
    std::vector<Record> records;
    for (const auto& [key, record] : rows_) records.push_back(record);
    return records;
  }

 private:
  static std::pair<std::size_t, std::uint32_t> key(const Record& record) {
    struct Number {
      std::uint32_t operator()(const AreaRecord& r) const { return r.area.value; }
      std::uint32_t operator()(const GuestRecord& r) const { return r.guest.value; }
      std::uint32_t operator()(const AppRecord& r) const { return r.app.value; }
    };
    return {record.index(), std::visit(Number{}, record)};
  }
  std::map<std::pair<std::size_t, std::uint32_t>, Record> rows_;
};

}  // namespace understudy::core

#pragma once

#include "base/background.hpp"
#include "control/event_budget.hpp"
#include "control/event_history.hpp"
#include "control/line_writer.hpp"
#include "control/report_file.hpp"
#include "core/core.hpp"
#include "engine/ports.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <string>
#include <vector>

namespace understudy::control {

// UTC with milliseconds: 2026-11-22T10:44:42.123Z.
[[nodiscard]] std::string wall_clock(Duration from_now = {});

// The observer port: keeps the latest events (and each application's last report) in memory, appends every
// event as a line of JSON to a file of the run directory, and hands it to whoever follows. What these files
// have of a former daemon is known from the start. What a guest can cause by talking has a budget
// (event_budget.hpp), and what it causes otherwise pushes nobody else's events out (event_history.hpp);
// events are written by a thread of their own to files that are bounded (line_writer.hpp).
class EventLog final : public engine::Observer {
 public:
  static constexpr std::size_t kMostEvents = 5000;  // in memory
  static constexpr std::size_t kMostEventBytes = 4UL << 20;

  // Names in the lines come from `setup`. A file that cannot be written is reported once on the standard
  // output; events go on being kept in memory, and are written again from when that works. `log` is the file
  // that the standard output may be.
  EventLog(const core::Setup& setup, const std::filesystem::path& file,
           const std::filesystem::path& reports_file, const std::filesystem::path& log);

  void notice(Time at, const core::Notice& notice) override;
  void report(Time at, const core::TakeoverReport& report) override;

  // Says what was held back of guests that talk too much, when that is due. Costs nothing when nothing was.
  void tell_held_back(Time at);
  // Until the files have everything, or the limit has passed. Not for the loop.
  void flush(Duration limit) const {
    writer_.flush(limit);
    background_.flush(limit);
  }

  // One line of JSON each: {"number","time","severity","kind","text","guest"?,"application"?}, in the order
  // of their numbers, some of which may be missing.
  [[nodiscard]] std::vector<std::string> lines() const { return history_.lines(); }
  [[nodiscard]] const core::TakeoverReport* last_report(std::optional<core::AppId> app) const;

  // Is handed every event from now on, until it returns false.
  using Follower = std::function<bool(const std::string& line)>;
  void follow(Follower follower) { followers_.push_back(std::move(follower)); }

 private:
  void tell(const core::Notice& notice);
  void add(const EventHistory::Origin& origin, std::string line);
  void read_back(const std::filesystem::path& file);

  const core::Setup& setup_;
  const std::filesystem::path reports_file_;
  EventBudget budget_;
  LineWriter writer_;
  std::uint64_t number_ = 0;
  EventHistory history_{{kMostEvents, kMostEventBytes}};
  std::list<Follower> followers_;
  Reports reports_;
  Background background_;  // last: what it still writes uses the rest
};

}  // namespace understudy::control

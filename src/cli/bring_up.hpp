#pragma once

#include "base/time.hpp"
#include "config/config.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/json.hpp>

namespace understudy::cli {

// Watches a system that is being brought up, and says when it is known how that ends. What the daemon cannot
// start it tries again for ever, so somebody has to say that waiting is over: when an application has failed
// on every guest that it may be on, when a guest has failed three times in a row, and when nothing has
// happened for a while although no guest is missing.
class BringUp {
 public:
  enum class Outcome { going_on, all_up, not_all };

  explicit BringUp(const config::Config& config);

  // What happened, then how things stand.
  void event(const boost::json::object& event);
  [[nodiscard]] Outcome status(const boost::json::object& status, Time now);
  // Nothing has happened for as long as an answer may take.
  [[nodiscard]] Outcome silence(const boost::json::object& status);

  // What is not up and why, one line for each; empty: all is up.
  [[nodiscard]] std::vector<std::string> troubles(const boost::json::object& status) const;

 private:
  [[nodiscard]] bool hopeless(const std::string& app) const;

  std::map<std::string, std::set<std::string>> usable_;  // application: the guests it may be started on
  std::map<std::string, std::map<std::string, std::string>> failed_;  // application: guest: what was said
  std::map<std::string, std::uint32_t> lost_;                         // guest: failures in a row
  std::optional<Time> known_since_;                                   // something is known not to start
};

}  // namespace understudy::cli

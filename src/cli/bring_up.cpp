#include "cli/bring_up.hpp"

#include "base/counted.hpp"
#include "cli/cli.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace understudy::cli {

namespace {

namespace json = boost::json;

constexpr std::uint32_t kFailuresInARow = 3;
// When one thing will not start, the others get so long to show whether they do.
constexpr Duration kOthersLimit = std::chrono::seconds(30);
constexpr std::array<std::string_view, 4> kGuestFailed{"guest-launch-failed", "guest-exited",
                                                       "guest-panicked", "guest-hung"};

bool flag(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

bool all_ready(const json::object& status) {
  const json::array& guests = status.at("guests").as_array();
  return std::all_of(guests.begin(), guests.end(),
                     [](const json::value& each) { return text(each.as_object(), "state") == "ready"; });
}

// Serving, and protected where it is to be; or in maintenance, or stopped: as its operator wants it.
bool is_up(const json::object& app) {
  if (flag(app, "maintenance") || text(app, "state") == "stopped") return true;
  return text(app, "state") == "serving" && (flag(app, "protected") || !flag(app, "hot_standby"));
}

}  // namespace

BringUp::BringUp(const config::Config& config) {
  for (const config::Application& app : config.applications) {
    std::set<std::string>& guests = usable_[app.name];
    for (const core::GuestId id : app.guests) {
      guests.insert(config.guests.at(id.value).name);
      if (!app.hot_standby) break;  // it starts on its first guest alone
    }
  }
}

void BringUp::event(const json::object& event) {
  const std::string kind = text(event, "kind");
  const std::string guest = text(event, "guest");
  const std::string app = text(event, "application");
  if (kind == "app-start-failed") failed_[app][guest] = text(event, "text");
  if (kind == "app-serving" || kind == "takeover-done") failed_.erase(app);
  if (kind == "guest-ready") lost_.erase(guest);
  if (std::find(kGuestFailed.begin(), kGuestFailed.end(), kind) != kGuestFailed.end()) ++lost_[guest];
}

bool BringUp::hopeless(const std::string& app) const {
  const auto usable = usable_.find(app);
  if (usable == usable_.end()) return false;
  const auto failed = failed_.find(app);
  return std::all_of(usable->second.begin(), usable->second.end(), [&](const std::string& guest) {
    const auto lost = lost_.find(guest);
    return (failed != failed_.end() && failed->second.contains(guest)) ||
           (lost != lost_.end() && lost->second >= kFailuresInARow);
  });
}

BringUp::Outcome BringUp::status(const json::object& status, Time now) {
  bool up = all_ready(status);
  bool undecided = false;
  bool known = std::any_of(lost_.begin(), lost_.end(),
                           [](const auto& each) { return each.second >= kFailuresInARow; });
  for (const json::value& value : status.at("applications").as_array()) {
    const json::object& app = value.as_object();
    if (is_up(app)) continue;
    up = false;
    const std::string state = text(app, "state");
    const bool over = state == "failed" || state == "unreachable" || hopeless(text(app, "name"));
    known |= over;
    undecided |= !over;
  }
  if (up) return Outcome::all_up;
  if (!known) {
    known_since_.reset();
    return Outcome::going_on;
  }
  if (!known_since_) known_since_ = now;
  return undecided && now - *known_since_ < kOthersLimit ? Outcome::going_on : Outcome::not_all;
}

BringUp::Outcome BringUp::silence(const json::object& status) {
  if (troubles(status).empty()) return Outcome::all_up;
  if (!all_ready(status)) return known_since_ ? Outcome::not_all : Outcome::going_on;
  // A start may take as long as its start_limit says, in silence.
  const json::array& apps = status.at("applications").as_array();
  const bool busy = std::any_of(apps.begin(), apps.end(), [](const json::value& each) {
    const std::string state = text(each.as_object(), "state");
    return state == "starting" || state == "moving" || state == "restarting";
  });
  return busy ? Outcome::going_on : Outcome::not_all;
}

std::vector<std::string> BringUp::troubles(const json::object& status) const {
  std::vector<std::string> found;
  for (const json::value& value : status.at("applications").as_array()) {
    const json::object& app = value.as_object();
    if (is_up(app)) continue;
    const std::string name = text(app, "name");
    const auto failed = failed_.find(name);
    if (failed != failed_.end()) {
      for (const auto& [guest, said] : failed->second) found.push_back(said);
    } else if (text(app, "state") == "serving") {
      found.push_back(fmt::format("{} serves, but is not protected: {}", name, text(app, "why")));
    } else {
      found.push_back(fmt::format("{} is {}: {}", name, text(app, "state"), text(app, "trouble")));
    }
  }
  for (const json::value& value : status.at("guests").as_array()) {
    const json::object& guest = value.as_object();
    if (text(guest, "state") == "ready") continue;
    const auto lost = lost_.find(text(guest, "name"));
    found.push_back(lost == lost_.end()
                        ? fmt::format("guest {} is {}", text(guest, "name"), text(guest, "state"))
                        : fmt::format("guest {} is {}, and has failed {} in a row", text(guest, "name"),
                                      text(guest, "state"), counted(lost->second, "time")));
  }
  return found;
}

}  // namespace understudy::cli

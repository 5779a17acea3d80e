#include "control/report_file.hpp"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>

#include <boost/json.hpp>
#include <system_error>

namespace understudy::control {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

std::string name_of(const core::Setup& setup, const std::optional<core::GuestId>& guest) {
  return guest ? setup.guest(*guest).name : "";
}

std::optional<core::GuestId> guest_named(const core::Setup& setup, std::string_view name) {
  for (std::uint32_t i = 0; i < setup.guests.size(); ++i) {
    if (setup.guests[i].name == name) return core::GuestId{i};
  }
  return std::nullopt;
}

std::optional<core::AppId> app_named(const core::Setup& setup, std::string_view name) {
  for (std::uint32_t i = 0; i < setup.apps.size(); ++i) {
    if (setup.apps[i].name == name) return core::AppId{i};
  }
  return std::nullopt;
}

json::object object_of(const core::Setup& setup, const core::TakeoverReport& report, bool last) {
  json::array phases;
  for (const Duration phase : report.phases) phases.push_back(phase.count());
  json::array attempts;
  for (const core::Attempt& attempt : report.attempts) {
    attempts.push_back(
        json::object{{"on", name_of(setup, attempt.on)}, {"us", attempt.took.count()}, {"why", attempt.why}});
  }
  return {{"application", setup.app(report.app).name},
          {"last", last},
          {"cause", report.cause},
          {"from", name_of(setup, report.from)},
          {"to", name_of(setup, report.to)},
          {"epoch", report.epoch},
          {"result", report.result},
          {"phases_us", std::move(phases)},
          {"waited_us", report.waited.count()},
          {"attempts", std::move(attempts)},
          {"attempts_in_vain", report.attempts_in_vain},
          {"in_vain_us", report.in_vain.count()},
          {"bytes_moved", report.bytes_moved},
          {"bytes_zeroed", report.bytes_zeroed},
          {"bytes_copied", report.bytes_copied}};
}

std::string text(const json::object& object, std::string_view key) {
  return std::string(object.at(key).as_string());
}

Duration duration(const json::value& value) {
  return Duration(value.to_number<Duration::rep>());
}

// Throws what Boost.JSON throws when the object is not as we write it.
void take(const core::Setup& setup, const json::object& object, Reports& reports) {
  const auto app = app_named(setup, text(object, "application"));
  if (!app) return;
  core::TakeoverReport report;
  report.app = *app;
  report.cause = text(object, "cause");
  report.from = guest_named(setup, text(object, "from"));
  report.to = guest_named(setup, text(object, "to"));
  report.epoch = object.at("epoch").to_number<core::Epoch>();
  report.result = text(object, "result");
  const json::array& phases = object.at("phases_us").as_array();
  for (std::size_t i = 0; i < core::kPhaseCount; ++i) report.phases[i] = duration(phases.at(i));
  report.waited = duration(object.at("waited_us"));
  for (const json::value& value : object.at("attempts").as_array()) {
    const json::object& attempt = value.as_object();
    const auto on = guest_named(setup, text(attempt, "on"));
    if (on) report.attempts.push_back({*on, duration(attempt.at("us")), text(attempt, "why")});
  }
  report.attempts_in_vain = object.at("attempts_in_vain").to_number<std::uint32_t>();
  report.in_vain = duration(object.at("in_vain_us"));
  report.bytes_moved = object.at("bytes_moved").to_number<Bytes>();
  report.bytes_zeroed = object.at("bytes_zeroed").to_number<Bytes>();
  report.bytes_copied = object.at("bytes_copied").to_number<Bytes>();
  if (object.at("last").as_bool()) reports.last = *app;
  reports.of[*app] = std::move(report);
}

}  // namespace

Result<void> write_reports(const fs::path& file, const core::Setup& setup, const Reports& reports) {
  json::array all;
  for (const auto& [app, report] : reports.of) all.push_back(object_of(setup, report, reports.last == app));
  const fs::path fresh = file.string() + ".new";
  std::ofstream out(fresh, std::ios::trunc);
  out << json::serialize(all) << '\n';
  out.close();
  std::error_code error;
  if (out) fs::rename(fresh, file, error);
  if (!out || error) return failure("cannot write " + file.string());
  return {};
}

Reports read_reports(const fs::path& file, const core::Setup& setup) {
  std::ifstream in(file);
  const std::string all((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  Reports reports;
  try {
    boost::system::error_code error;
    const json::value value = json::parse(all, error);
    if (error) return {};
    for (const json::value& one : value.as_array()) take(setup, one.as_object(), reports);
  } catch (const std::exception&) {
    return {};  // somebody else's, or of another version
  }
  return reports;
}

}  // namespace understudy::control

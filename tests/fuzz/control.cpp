// Requests on the daemon's control socket, and what people write for a duration of maintenance. The input is
// one line.
#include "control/command.hpp"
#include "property.hpp"

using namespace understudy;
using namespace understudy::control;
using fuzz::check_error;

namespace {

constexpr std::size_t kMostErrorBytes = 300;

void check_duration(Duration lasts) {
  US_PROPERTY(lasts >= kShortestMaintenance && lasts <= kLongestMaintenance, format_duration(lasts));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line = fuzz::text_of(data, size);
  const auto lasts = parse_maintenance(line);
  if (lasts) {
    check_duration(*lasts);
  } else {
    check_error(lasts.error().message, kMostErrorBytes);
  }

  const auto command = decode(line);
  if (!command) {
    check_error(command.error().message, kMostErrorBytes);
    return 0;
  }
  if (const auto* maintenance = std::get_if<command::Maintenance>(&*command)) {
    US_PROPERTY(!maintenance->target.empty(), line);
    if (maintenance->lasts != Duration{}) check_duration(maintenance->lasts);
  }
  if (const auto* takeover = std::get_if<command::Takeover>(&*command))
    US_PROPERTY(!takeover->app.empty(), line);
  if (const auto* fault = std::get_if<command::Fault>(&*command)) {
    US_PROPERTY(!fault->target.empty() && fault_of(fault_name(fault->kind)) == fault->kind, line);
  }
  const std::string written = encode(*command);
  US_PROPERTY(written.find('\n') == std::string::npos, written);
  const auto again = decode(written);
  US_PROPERTY(again.has_value(), written);
  US_PROPERTY(again->index() == command->index() && encode(*again) == written, written);
  return 0;
}

// understudy.toml. The input is the file.
#include "config/config.hpp"

#include "config/limits.hpp"
#include "property.hpp"

#include <algorithm>
#include <charconv>
#include <set>

using namespace understudy;
using namespace understudy::config;
using fuzz::check_error;

namespace {

constexpr std::string_view kName = "fuzz.toml";
constexpr std::size_t kMostErrorBytes = 5000;  // the budget's names up to 64 applications

std::size_t number_at(std::string_view& text) {
  std::size_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  US_PROPERTY(code == std::errc() && *end == ':', text);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return number;
}

void check_errors(const Errors& errors, std::string_view file) {
  US_PROPERTY(!errors.empty() && errors.size() <= kMostErrors, file);
  const auto lines = static_cast<std::size_t>(std::count(file.begin(), file.end(), '\n')) + 1;
  std::pair<std::size_t, std::size_t> last{1, 1};
  for (const std::string& error : errors) {
    check_error(error, kMostErrorBytes);
    std::string_view rest = error;
    US_PROPERTY(rest.starts_with(kName) && rest.substr(kName.size()).starts_with(":"), error);
    rest.remove_prefix(kName.size() + 1);
    const std::size_t line = number_at(rest);
    const std::size_t column = number_at(rest);
    US_PROPERTY(line >= 1 && line <= lines && column >= 1, error);
    US_PROPERTY((std::pair(line, column) >= last), error);
    US_PROPERTY(rest.size() > 1 && rest.front() == ' ', error);
    last = {line, column};
  }
}

void check_guest(const Guest& guest) {
  US_PROPERTY(!guest.name.empty() && guest.name.size() <= kLongestName, guest.name);
  US_PROPERTY(guest.base_bytes >= kSmallestBase && guest.base_bytes <= kLargestSize, guest.name);
  US_PROPERTY(guest.slots >= 1 && guest.slots <= kMostSlots, guest.name);
  US_PROPERTY(guest.vcpus >= 1 && guest.vcpus <= kMostVcpus, guest.name);
  US_PROPERTY(guest.heartbeat.limit >= 2 * guest.heartbeat.interval, guest.name);
  US_PROPERTY(guest.image.kernel.is_absolute() && guest.image.initramfs.is_absolute(), guest.name);
}

void check_application(const Application& app, const Config& config) {
  US_PROPERTY(!app.name.empty() && app.name.size() <= kLongestName, app.name);
  US_PROPERTY(!app.guests.empty(), app.name);
  std::set<core::GuestId> guests;
  for (const core::GuestId guest : app.guests)
    US_PROPERTY(guest.value < config.guests.size() && guests.insert(guest).second, app.name);
  US_PROPERTY(app.minimum_bytes <= app.memory_bytes && app.memory_bytes <= app.maximum_bytes, app.name);
  US_PROPERTY(!app.hot_standby || app.guests.size() >= 2, app.name);
  US_PROPERTY(!app.start.empty() && app.start[0].starts_with('/'), app.name);
  for (const std::string& word : app.start)
    US_PROPERTY(word.size() <= kLongestArgument && word.find('\0') == std::string::npos, app.name);
  US_PROPERTY(app.start.size() <= kMostArguments && app.environment.size() <= kMostVariables, app.name);
  US_PROPERTY(app.vcpus <= kMostApplicationVcpus, app.name);
  if (app.address) US_PROPERTY(app.address->listen_port != 0 && app.address->guest_port != 0, app.name);
}

template <class Named>
void check_names_differ(const std::vector<Named>& list) {
  std::set<std::string> names;
  for (const Named& each : list) US_PROPERTY(names.insert(each.name).second, each.name);
}

// What the core and the ports take for granted.
void check_config(const Config& config, std::string_view file) {
  US_PROPERTY(!config.guests.empty() && config.guests.size() <= kMostGuests, file);
  US_PROPERTY(!config.applications.empty() && config.applications.size() <= kMostApplications, file);
  US_PROPERTY(config.hooks.size() <= kMostHooks, file);
  US_PROPERTY(config.pool.area_bytes > 0 && config.pool.area_bytes % kMemoryBlock == 0, file);
  check_names_differ(config.guests);
  check_names_differ(config.applications);
  Bytes promised = 0;
  for (const Guest& guest : config.guests) {
    check_guest(guest);
    promised += guest.base_bytes + guest.overhead_bytes;
  }
  for (const Application& app : config.applications) {
    check_application(app, config);
    promised +=
        (app.memory_bytes + config.pool.area_bytes - 1) / config.pool.area_bytes * config.pool.area_bytes;
  }
  US_PROPERTY(promised <= config.pool.memory_bytes, file);
  const core::Setup setup = config.setup();
  US_PROPERTY(setup.pool.area_count <= kMostAreas, file);
  US_PROPERTY(setup.guests.size() == config.guests.size() && setup.apps.size() == config.applications.size(),
              file);
}

// A size or duration that was read and is written again is the same one.
void check_units(std::string_view text) {
  if (text.size() > 64) return;
  if (const auto bytes = parse_size(text)) {
    const std::string written = format_size(*bytes);
    const auto again = parse_size(written);
    US_PROPERTY(written.find('.') != std::string::npos || (again && *again == *bytes), written);
  } else {
    check_error(bytes.error().message, 400);
  }
  if (const auto duration = parse_duration(text)) {
    const auto again = parse_duration(format_duration(*duration));
    US_PROPERTY(again && *again == *duration, text);
  } else {
    check_error(duration.error().message, 400);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view file = fuzz::text_of(data, size);
  check_units(file);
  const auto config = parse(file, kName);
  if (config) {
    check_config(*config, file);
  } else {
    check_errors(config.error(), file);
  }
  return 0;
}

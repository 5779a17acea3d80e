#include "qemu/monitor_reply.hpp"

#include "base/shown.hpp"
#include "qemu/command_line.hpp"
#include "qemu/json_field.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

#include <boost/json/serialize.hpp>

namespace understudy::qemu {

namespace json = boost::json;

namespace {

constexpr std::size_t kMostStatusBytes = 64;

const json::value* member(const json::value* value, std::string_view key) {
  const json::object* object = value != nullptr ? value->if_object() : nullptr;
  return object != nullptr ? object->if_contains(key) : nullptr;
}

std::optional<std::string_view> text(const json::value* value) {
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string_view(value->get_string());
}

std::optional<std::uint64_t> number(const json::value* value) {
  if (value == nullptr) return std::nullopt;
  if (value->is_uint64()) return value->get_uint64();
  if (value->is_int64() && value->get_int64() >= 0) return static_cast<std::uint64_t>(value->get_int64());
  return std::nullopt;
}

tl::unexpected<Error> strange(const char* command, const json::value& reply) {
  return failure(std::string(command) + ": QEMU answered in a form that this program does not know: " +
                 shown(json::serialize(reply), kMostQuotedBytes));
}

// QEMU lists places in no order that it promises. A kernel numbers CPUs as they come; the lowest first keeps
// the two alike.
std::array<std::uint64_t, 4> order_of(const json::object& props) {
  std::array<std::uint64_t, 4> order{};
  std::size_t at = 0;
  for (const char* key : {"socket-id", "die-id", "core-id", "thread-id"})
    order[at++] = number(props.if_contains(key)).value_or(0);
  return order;
}

}  // namespace

// QEMU 7.2 to 10: qapi/run-state.json, system/runstate.c. Not "prelaunch" and "postmigrate": a guest of ours
// is never in them, and what has brought it there is not ours.
bool RunStatus::only_a_command_ends_it() const {
  constexpr std::string_view kStops[] = {"paused", "guest-panicked", "shutdown", "internal-error",
                                         "io-error"};
  return !running && std::find(std::begin(kStops), std::end(kStops), name) != std::end(kStops);
}

Result<RunStatus> read_status(const json::value& reply) {
  const json::value* running = member(&reply, "running");
  const auto name = text(member(&reply, "status"));
  if (running == nullptr || !running->is_bool() || !name) return strange("query-status", reply);
  return RunStatus{running->get_bool(), shown(*name, kMostStatusBytes)};
}

Result<std::vector<PluggedArea>> read_memory_devices(const json::value& reply) {
  if (!reply.is_array()) return strange("query-memory-devices", reply);
  std::vector<PluggedArea> areas;
  for (const json::value& device : reply.get_array()) {
    const json::value* data = member(&device, "data");
    const auto id = text(member(data, "id"));
    const auto area = id ? area_of_id(*id, "dimm-") : std::nullopt;
    if (!area) continue;
    const auto address = number(member(data, "addr"));
    if (!address) return strange("query-memory-devices", reply);
    areas.push_back({*area, *address});
  }
  return areas;
}

std::optional<bool> read_kvm(const json::value& reply) {
  const json::value* enabled = member(&reply, "enabled");
  if (enabled == nullptr || !enabled->is_bool()) return std::nullopt;
  return enabled->get_bool();
}

Result<std::vector<core::AreaId>> read_backends(const json::value& reply) {
  if (!reply.is_array()) return strange("qom-list", reply);
  std::vector<core::AreaId> areas;
  for (const json::value& object : reply.get_array()) {
    const auto name = text(member(&object, "name"));
    if (const auto area = name ? area_of_id(*name, "mem-") : std::nullopt) areas.push_back(*area);
  }
  return areas;
}

Result<std::vector<VcpuPlace>> read_hotpluggable_cpus(const json::value& reply) {
  constexpr std::string_view kPeripheral = "/machine/peripheral/";
  if (!reply.is_array() || reply.get_array().size() > kMostPlaces)
    return strange("query-hotpluggable-cpus", reply);
  std::vector<VcpuPlace> places;
  for (const json::value& each : reply.get_array()) {
    const auto type = text(member(&each, "type"));
    const json::value* props = member(&each, "props");
    if (!type || type->empty() || props == nullptr || !props->is_object())
      return strange("query-hotpluggable-cpus", reply);
    VcpuPlace place{std::string(*type), {}, false, std::nullopt};
    for (const auto& [key, value] : props->get_object()) {
      // They become arguments of a command as they are: places only, nothing else.
      if (!std::string_view(key).ends_with("-id") || !number(&value))
        return strange("query-hotpluggable-cpus", reply);
      place.props[key] = *number(&value);
    }
    if (const json::value* path = member(&each, "qom-path")) {
      const auto taken_by = text(path);
      if (!taken_by) return strange("query-hotpluggable-cpus", reply);
      place.taken = true;
      if (taken_by->starts_with(kPeripheral)) place.name = vcpu_of_id(taken_by->substr(kPeripheral.size()));
    }
    places.push_back(std::move(place));
  }
  std::stable_sort(places.begin(), places.end(), [](const VcpuPlace& one, const VcpuPlace& other) {
    return order_of(one.props) < order_of(other.props);
  });
  return places;
}

}  // namespace understudy::qemu

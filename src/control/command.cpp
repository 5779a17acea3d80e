#include "control/command.hpp"

#include "base/shown.hpp"

#include <array>

#include <boost/json.hpp>

namespace understudy::control {

namespace {

namespace json = boost::json;
using core::FaultKind;

constexpr std::size_t kMostQuotedBytes = 40;

// The first name of each is the one that is shown; vmm-kill is what qemu-kill was called once.
constexpr std::array<std::pair<FaultKind, const char*>, 8> kFaults{
    {{FaultKind::os_panic, "os-panic"},
     {FaultKind::os_hang, "os-hang"},
     {FaultKind::vmm_kill, "qemu-kill"},
     {FaultKind::vmm_kill, "vmm-kill"},
     {FaultKind::app_exit, "app-exit"},
     {FaultKind::app_crash, "app-crash"},
     {FaultKind::app_hang, "app-hang"},
     {FaultKind::agent_silence, "agent-silence"}}};

struct ToJson {
  json::object operator()(const command::Status&) const { return {{"command", "status"}}; }
  json::object operator()(const command::Table&) const { return {{"command", "table"}}; }
  json::object operator()(const command::Report& c) const { return {{"command", "report"}, {"app", c.app}}; }
  json::object operator()(const command::Events& c) const {
    return {{"command", "events"}, {"follow", c.follow}};
  }
  json::object operator()(const command::Takeover& c) const {
    return {{"command", "takeover"}, {"app", c.app}, {"to", c.to}, {"fence", c.fence}};
  }
  json::object operator()(const command::Fault& c) const {
    return {{"command", "fault"}, {"target", c.target}, {"kind", fault_name(c.kind)}};
  }
  json::object operator()(const command::Start& c) const { return {{"command", "start"}, {"app", c.app}}; }
  json::object operator()(const command::Stop& c) const { return {{"command", "stop"}, {"app", c.app}}; }
  json::object operator()(const command::Logs& c) const {
    return {{"command", "logs"}, {"app", c.app}, {"number", c.number}};
  }
  json::object operator()(const command::Maintenance& c) const {
    return {{"command", "maintenance"}, {"target", c.target}, {"lasts_us", c.lasts.count()}};
  }
  json::object operator()(const command::Rehearse& c) const {
    return {{"command", "rehearse"}, {"app", c.app}, {"start", c.start}};
  }
  json::object operator()(const command::Down&) const { return {{"command", "down"}}; }
};

Result<std::string> text_of(const json::object& object, std::string_view key, bool required) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr && !required) return std::string();
  if (value == nullptr || !value->is_string() || (required && value->get_string().empty())) {
    return failure("the request needs \"" + std::string(key) + "\", a text");
  }
  return std::string(value->get_string());
}

Result<Duration> within_limits(Duration lasts) {
  if (lasts >= kShortestMaintenance && lasts <= kLongestMaintenance) return lasts;
  return failure("maintenance lasts from " + format_duration(kShortestMaintenance) + " to " +
                 format_duration(kLongestMaintenance) + ", not " + format_duration(lasts) +
                 "; ask again before it is over, or end it with --end");
}

Result<Command> decode_maintenance(const json::object& object) {
  const auto target = text_of(object, "target", true);
  if (!target) return tl::unexpected(target.error());
  const json::value* value = object.if_contains("lasts_us");
  if (value == nullptr || !value->is_int64())
    return failure("the request needs \"lasts_us\", a whole number of microseconds (0: it is over)");
  const Duration lasts(value->get_int64());
  if (lasts != Duration{}) {
    if (const auto good = within_limits(lasts); !good) return tl::unexpected(good.error());
  }
  return command::Maintenance{*target, lasts};
}

}  // namespace

Result<Duration> parse_maintenance(std::string_view text) {
  std::string whole(text);
  if (whole.size() > 1 && whole.back() == 'm') whole += "in";
  const auto lasts = parse_duration(whole);
  if (!lasts) return tl::unexpected(lasts.error());
  return within_limits(*lasts);
}

const char* fault_name(FaultKind kind) {
  for (const auto& [known, name] : kFaults) {
    if (known == kind) return name;
  }
  return "?";
}

std::optional<FaultKind> fault_of(std::string_view name) {
  for (const auto& [kind, known] : kFaults) {
    if (name == known) return kind;
  }
  return std::nullopt;
}

std::string encode(const Command& command) {
  return json::serialize(std::visit(ToJson{}, command));
}

Result<Command> decode(std::string_view line) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 3;
  const json::value value = json::parse(line, error, {}, options);
  if (error || !value.is_object()) return failure("the request is not a JSON object");
  const json::object& object = value.get_object();
  const Result<std::string> name = text_of(object, "command", true);
  if (!name) return tl::unexpected(name.error());
  const auto app = text_of(
      object, "app",
      *name == "takeover" || *name == "start" || *name == "stop" || *name == "logs" || *name == "rehearse");
  if (!app) return tl::unexpected(app.error());

  if (*name == "status") return command::Status{};
  if (*name == "table") return command::Table{};
  if (*name == "report") return command::Report{*app};
  if (*name == "start") return command::Start{*app};
  if (*name == "stop") return command::Stop{*app};
  if (*name == "logs") {
    const json::value* number = object.if_contains("number");
    if (number != nullptr && (!number->is_int64() || number->get_int64() < 0))
      return failure("\"number\" of the request has to be a whole number");
    return command::Logs{*app, number == nullptr ? 0 : static_cast<std::uint64_t>(number->get_int64())};
  }
  if (*name == "rehearse") {
    const json::value* start = object.if_contains("start");
    if (start != nullptr && !start->is_bool())
      return failure("\"start\" of the request has to be true or false");
    return command::Rehearse{*app, start != nullptr && start->get_bool()};
  }
  if (*name == "down") return command::Down{};
  if (*name == "events") {
    const json::value* follow = object.if_contains("follow");
    return command::Events{follow != nullptr && follow->is_bool() && follow->get_bool()};
  }
  if (*name == "takeover") {
    const auto to = text_of(object, "to", false);
    if (!to) return tl::unexpected(to.error());
    const json::value* fence = object.if_contains("fence");
    if (fence != nullptr && !fence->is_bool())
      return failure("\"fence\" of the request has to be true or false");
    return command::Takeover{*app, *to, fence != nullptr && fence->get_bool()};
  }
  if (*name == "maintenance") return decode_maintenance(object);
  if (*name == "fault") {
    const auto target = text_of(object, "target", true);
    const auto kind = text_of(object, "kind", true);
    if (!target) return tl::unexpected(target.error());
    if (!kind) return tl::unexpected(kind.error());
    const auto fault = fault_of(*kind);
    if (!fault) return failure("\"" + shown(*kind, kMostQuotedBytes) + "\" is no kind of fault");
    return command::Fault{*target, *fault};
  }
  return failure("\"" + shown(*name, kMostQuotedBytes) + "\" is no command");
}

}  // namespace understudy::control

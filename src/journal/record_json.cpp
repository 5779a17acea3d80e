#include "journal/record_json.hpp"

#include <array>
#include <limits>
#include <optional>

#include <boost/json.hpp>

namespace understudy::journal {

namespace {

namespace json = boost::json;

constexpr std::array kAreaStates{core::AreaState::unused,    core::AreaState::held,
                                 core::AreaState::scrubbing, core::AreaState::plugging,
                                 core::AreaState::plugged,   core::AreaState::engaged,
                                 core::AreaState::releasing, core::AreaState::unplugging};
constexpr std::array kGuestStates{core::GuestDurable::off, core::GuestDurable::up,
                                  core::GuestDurable::fencing, core::GuestDurable::fenced};
constexpr std::array kAppStates{core::AppDurable::idle,    core::AppDurable::waiting,
                                core::AppDurable::moving,  core::AppDurable::serving,
                                core::AppDurable::leaving, core::AppDurable::failed};

json::value run_json(const std::optional<core::GuestRun>& run) {
  if (!run) return nullptr;
  return json::array{run->guest.value, run->run};
}

json::object to_json(const core::AreaRecord& record) {
  return {{"area", record.area.value},
          {"state", core::area_state_name(record.state)},
          {"user", record.user ? json::value(record.user->value) : json::value(nullptr)},
          {"in", run_json(record.in)},
          {"domain", record.last_domain}};
}

json::object to_json(const core::GuestRecord& record) {
  return {{"guest", record.guest.value},
          {"run", record.run},
          {"state", core::guest_durable_name(record.state)},
          {"why", record.why},
          {"wanted", record.wanted}};
}

json::object to_json(const core::AppRecord& record) {
  return {{"app", record.app.value},
          {"state", core::app_durable_name(record.state)},
          {"epoch", record.epoch},
          {"in", run_json(record.in)},
          {"cause", record.cause},
          {"from", record.from ? json::value(record.from->value) : json::value(nullptr)},
          {"to", record.to ? json::value(record.to->value) : json::value(nullptr)},
          {"give_up", record.give_up}};
}

// Reads the fields of one record; the first that is missing or wrong makes the whole record wrong.
class Fields {
 public:
  explicit Fields(const json::object& object) : object_(object) {}

  template <class Number>
  Number number(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    return value == nullptr ? miss<Number>(key) : number_of<Number>(*value, key);
  }

  std::string text(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value == nullptr || !value->is_string()) return miss<std::string>(key);
    return std::string(value->get_string());
  }

  bool truth(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value == nullptr || !value->is_bool()) return miss<bool>(key);
    return value->get_bool();
  }

  template <class States, class Name>
  auto state(const States& states, Name name) {
    const std::string word = text("state");
    for (const auto candidate : states) {
      if (word == name(candidate)) return candidate;
    }
    return miss<typename States::value_type>("state");
  }

  std::optional<core::GuestRun> run(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value == nullptr) return miss<std::optional<core::GuestRun>>(key);
    if (value->is_null()) return std::nullopt;
    if (!value->is_array() || value->get_array().size() != 2) return miss<std::optional<core::GuestRun>>(key);
    return core::GuestRun{core::GuestId{number_of<std::uint32_t>(value->get_array()[0], key)},
                          number_of<std::uint32_t>(value->get_array()[1], key)};
  }

  template <class Id>
  std::optional<Id> id(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value == nullptr) return miss<std::optional<Id>>(key);
    if (value->is_null()) return std::nullopt;
    return Id{number_of<std::uint32_t>(*value, key)};
  }

  [[nodiscard]] const std::string& wrong() const { return wrong_; }

 private:
  template <class Number>
  Number number_of(const json::value& value, std::string_view key) {
    // Never by way of a double: no encoder of ours writes one, and 2^64 has no value to be cast to.
    std::optional<std::uint64_t> number;
    if (value.is_uint64()) number = value.get_uint64();
    if (value.is_int64() && value.get_int64() >= 0) number = static_cast<std::uint64_t>(value.get_int64());
    if (!number || *number > std::numeric_limits<Number>::max()) return miss<Number>(key);
    return static_cast<Number>(*number);
  }

  template <class T>
  T miss(std::string_view key) {
    if (wrong_.empty()) wrong_ = "field \"" + std::string(key) + "\" is missing or wrong";
    return T{};
  }

  const json::object& object_;
  std::string wrong_;
};

Result<core::Record> record_of(const json::object& object) {
  Fields fields(object);
  core::Record record;
  if (object.contains("area")) {
    core::AreaRecord area;
    area.area.value = fields.number<std::uint32_t>("area");
    area.state = fields.state(kAreaStates, core::area_state_name);
    area.user = fields.id<core::AppId>("user");
    area.in = fields.run("in");
    area.last_domain = fields.text("domain");
    record = area;
  } else if (object.contains("guest")) {
    core::GuestRecord guest;
    guest.guest.value = fields.number<std::uint32_t>("guest");
    guest.run = fields.number<std::uint32_t>("run");
    guest.state = fields.state(kGuestStates, core::guest_durable_name);
    guest.why = fields.text("why");
    guest.wanted = fields.truth("wanted");
    record = guest;
  } else if (object.contains("app")) {
    core::AppRecord app;
    app.app.value = fields.number<std::uint32_t>("app");
    app.state = fields.state(kAppStates, core::app_durable_name);
    app.epoch = fields.number<std::uint64_t>("epoch");
    app.in = fields.run("in");
    app.cause = fields.text("cause");
    app.from = fields.id<core::GuestId>("from");
    app.to = fields.id<core::GuestId>("to");
    app.give_up = fields.text("give_up");
    record = app;
  } else {
    return failure("a record is of no known kind");
  }
  if (!fields.wrong().empty()) return failure(fields.wrong());
  return record;
}

}  // namespace

std::string encode(const std::vector<core::Record>& records) {
  json::array array;
  for (const core::Record& record : records) {
    array.push_back(std::visit([](const auto& r) { return to_json(r); }, record));
  }
  return json::serialize(array);
}

Result<std::vector<core::Record>> decode(std::string_view text) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 4;
  const json::value value = json::parse(text, error, {}, options);
  if (error) return failure("not JSON: " + error.message());
  if (!value.is_array()) return failure("not a list of records");
  std::vector<core::Record> records;
  for (const json::value& item : value.get_array()) {
    if (!item.is_object()) return failure("a record is not an object");
    Result<core::Record> record = record_of(item.get_object());
    if (!record) return tl::unexpected(record.error());
    records.push_back(std::move(*record));
  }
  return records;
}

}  // namespace understudy::journal

#include "qemu/qmp_codec.hpp"

#include "base/shown.hpp"
#include "qemu/json_field.hpp"

#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace understudy::qemu {

namespace json = boost::json;

namespace {

constexpr std::size_t kMostQuotedLineBytes = 80;

std::string quoted(std::string_view line) {
  return '"' + shown(line, kMostQuotedLineBytes) + '"';
}

std::optional<std::uint64_t> id_of(const json::object& object) {
  const json::value* value = object.if_contains("id");
  if (value == nullptr) return std::nullopt;
  if (value->is_uint64()) return value->get_uint64();
  if (value->is_int64() && value->get_int64() >= 0) return static_cast<std::uint64_t>(value->get_int64());
  return std::nullopt;
}

QmpGreeting greeting_of(const json::value& qmp) {
  QmpGreeting greeting;
  const auto* const root = qmp.if_object();
  const auto* const version = root != nullptr ? root->if_contains("version") : nullptr;
  const auto* const parts = version != nullptr ? version->if_object() : nullptr;
  const auto* const qemu = parts != nullptr ? parts->if_contains("qemu") : nullptr;
  const auto* const numbers = qemu != nullptr ? qemu->if_object() : nullptr;
  if (numbers == nullptr) return greeting;
  for (const char* key : {"major", "minor", "micro"}) {
    const auto* const number = numbers->if_contains(key);
    if (number == nullptr || !number->is_int64()) continue;
    greeting.version += (greeting.version.empty() ? "" : ".") + std::to_string(number->get_int64());
  }
  return greeting;
}

Result<QmpMessage> message_of(json::object& object, std::string_view line) {
  if (json::value* value = object.if_contains("return")) {
    const auto id = id_of(object);
    if (!id) return failure("an answer without the id of its command: " + quoted(line));
    return QmpReturn{*id, std::move(*value)};
  }
  if (json::value* value = object.if_contains("error")) {
    if (!value->is_object()) return failure("an error that is no object: " + quoted(line));
    // Both become parts of sentences that people read.
    return QmpErrorReply{id_of(object),
                         shown(text_of(value->get_object(), "class"), QmpCodec::kMostErrorClassBytes),
                         shown(text_of(value->get_object(), "desc"), QmpCodec::kMostErrorBytes)};
  }
  if (json::value* value = object.if_contains("event")) {
    if (!value->is_string()) return failure("an event without a name: " + quoted(line));
    QmpEvent event{std::string(value->get_string()), {}};
    if (json::value* data = object.if_contains("data"); data != nullptr && data->is_object())
      event.data = std::move(data->get_object());
    return event;
  }
  if (const json::value* value = object.if_contains("QMP")) return greeting_of(*value);
  return failure("neither a greeting, an answer nor an event: " + quoted(line));
}

Result<QmpMessage> parse_line(std::string_view line) {
  json::parse_options options;
  options.max_depth = QmpCodec::kMaxNesting;
  json::error_code error;
  json::value value = json::parse(line, error, {}, options);
  if (error) return failure("no JSON (" + error.message() + "): " + quoted(line));
  if (!value.is_object()) return failure("no JSON object: " + quoted(line));
  return message_of(value.get_object(), line);
}

bool blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

Result<void> QmpCodec::feed(std::string_view bytes, std::vector<QmpMessage>& messages) {
  const auto fail = [this](std::string why) {
    broken_ = "QEMU's monitor sent " + std::move(why);
    line_.clear();
    return failure(broken_);
  };
  if (!broken_.empty()) return failure(broken_);
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    if (line_.size() + part.size() > kMaxLineBytes)
      return fail("a line of more than " + std::to_string(kMaxLineBytes) + " bytes");
    line_ += part;
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
    const std::string line = std::exchange(line_, {});
    if (blank(line)) continue;
    auto message = parse_line(line);
    if (!message) return fail(message.error().message);
    messages.push_back(std::move(*message));
  }
  return {};
}

std::string qmp_command(std::uint64_t id, std::string_view command, const json::object& arguments) {
  json::object object{{"execute", command}, {"id", id}};
  if (!arguments.empty()) object["arguments"] = arguments;
  return json::serialize(object) + "\n";
}

}  // namespace understudy::qemu

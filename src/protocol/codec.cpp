#include "protocol/codec.hpp"

#include "base/shown.hpp"
#include "protocol/decoder.hpp"
#include "protocol/encoder.hpp"

namespace understudy::protocol {

namespace {

template <class Message>
Result<std::string> encode_one(const Message& message, std::size_t max_line_bytes) {
  Encoder encoder(kType<Message>);
  encoder.result()["type"] = kType<Message>;
  fields(encoder, message);
  if (encoder.error()) return tl::unexpected(*encoder.error());
  std::string line = boost::json::serialize(encoder.result());
  if (line.size() > max_line_bytes) {
    return failure(std::string(kType<Message>) + ": the message takes " + std::to_string(line.size()) +
                   " bytes, one line may have " + std::to_string(max_line_bytes));
  }
  line += '\n';
  return line;
}

// At most this much of a foreign type word appears in an error.
constexpr std::size_t kShownTypeBytes = 32;

template <class Variant>
struct DecodeAs;

template <class... Messages>
struct DecodeAs<std::variant<Messages...>> {
  static Result<std::variant<Messages...>> decode(std::string_view type, const boost::json::object& object) {
    Result<std::variant<Messages...>> result =
        failure("unknown message type \"" + shown(type, kShownTypeBytes) + "\"");
    (void)(try_one<Messages>(type, object, result) || ...);
    return result;
  }

 private:
  template <class Message>
  static bool try_one(std::string_view type, const boost::json::object& object,
                      Result<std::variant<Messages...>>& result) {
    if (type != kType<Message>) return false;
    Message message;
    Decoder decoder(object, std::string(type));
    fields(decoder, message);
    if (decoder.error()) {
      result = tl::unexpected(*decoder.error());
    } else {
      result = std::move(message);
    }
    return true;
  }
};

template <class Variant>
Result<Variant> decode_line(std::string_view line, std::size_t max_line_bytes) {
  if (line.size() > max_line_bytes)
    return failure("the line is longer than " + std::to_string(max_line_bytes) + " bytes");
  boost::json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::json::error_code error;
  const boost::json::value value = boost::json::parse(line, error, {}, options);
  if (error) return failure("not a JSON object on one line (" + error.message() + ")");
  const auto* object = value.if_object();
  if (object == nullptr) return failure("not a JSON object");
  const auto* type = object->if_contains("type");
  if (type == nullptr || !type->is_string()) return failure("the message has no \"type\"");
  return DecodeAs<Variant>::decode(type->get_string(), *object);
}

template <class Message>
std::string_view type_of(const Message&) {
  return kType<Message>;
}

}  // namespace

Result<std::string> encode(const ToAgent& message) {
  return std::visit([](const auto& one) { return encode_one(one, kMaxLineToAgent); }, message);
}

Result<std::string> encode(const FromAgent& message) {
  return std::visit([](const auto& one) { return encode_one(one, kMaxLineToDaemon); }, message);
}

Result<ToAgent> decode_to_agent(std::string_view line) {
  return decode_line<ToAgent>(line, kMaxLineToAgent);
}

Result<FromAgent> decode_from_agent(std::string_view line) {
  return decode_line<FromAgent>(line, kMaxLineToDaemon);
}

std::string_view type_name(const ToAgent& message) {
  return std::visit([](const auto& one) { return type_of(one); }, message);
}

std::string_view type_name(const FromAgent& message) {
  return std::visit([](const auto& one) { return type_of(one); }, message);
}

std::string_view phase_name(Phase phase) {
  return kPhaseWords.at(static_cast<std::size_t>(phase));
}

}  // namespace understudy::protocol

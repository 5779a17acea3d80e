// What QEMU's monitor says: lines into messages, and the answers' readers. The input is the byte stream.
#include "property.hpp"
#include "qemu/console.hpp"
#include "qemu/monitor_reply.hpp"
#include "qemu/qmp_codec.hpp"
#include "qemu/usernet.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

using namespace understudy;
using namespace understudy::qemu;
using fuzz::check_error;

namespace {

namespace json = boost::json;

constexpr std::size_t kMostErrorBytes = 400;

std::string as_text(const QmpMessage& message) {
  struct Text {
    std::string operator()(const QmpGreeting& m) const { return "greeting " + m.version; }
    std::string operator()(const QmpReturn& m) const {
      return "return " + std::to_string(m.id) + " " + json::serialize(m.value);
    }
    std::string operator()(const QmpErrorReply& m) const {
      return "error " + (m.id ? std::to_string(*m.id) : "none") + " " + m.error_class + " " + m.description;
    }
    std::string operator()(const QmpEvent& m) const {
      return "event " + m.name + " " + json::serialize(m.data);
    }
  };
  return std::visit(Text{}, message);
}

struct Fed {
  std::string messages;
  std::string error;
  std::size_t pending_bytes = 0;
  std::vector<QmpMessage> list;
};

Fed feed(std::string_view bytes, std::size_t piece_bytes) {
  Fed out;
  QmpCodec codec;
  for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
    const auto fed = codec.feed(bytes.substr(at, piece_bytes), out.list);
    if (fed) continue;
    out.error = fed.error().message;
    const std::size_t before = out.list.size();
    const auto later = codec.feed("{\"event\":\"STOP\"}\n", out.list);
    US_PROPERTY(!later && later.error().message == out.error && out.list.size() == before, out.error);
    break;
  }
  out.pending_bytes = codec.pending_bytes();
  for (const QmpMessage& message : out.list) out.messages += as_text(message) + "\n";
  return out;
}

template <class T>
void check_reader(const Result<T>& read, const char* command) {
  if (read) return;
  check_error(read.error().message, kMostErrorBytes);
  US_PROPERTY(read.error().message.starts_with(command), read.error().message);
}

void check_answer(const json::value& value) {
  const auto status = read_status(value);
  check_reader(status, "query-status: ");
  if (status) US_PROPERTY(status->name.empty() || fuzz::printable_utf8(status->name), status->name);
  if (status) US_PROPERTY(status->name.size() <= kMostErrorBytes, status->name);
  check_reader(read_memory_devices(value), "query-memory-devices: ");
  check_reader(read_backends(value), "qom-list: ");
  const auto places = read_hotpluggable_cpus(value);
  check_reader(places, "query-hotpluggable-cpus: ");
  if (places) {
    for (const VcpuPlace& place : *places) {
      for (const auto& [key, number] : place.props)
        US_PROPERTY(std::string_view(key).ends_with("-id") && number.is_number(), key);
      // What is made of it is one command: one line, and nothing but what it says.
      json::object arguments = place.props;
      arguments["driver"] = place.type;
      const std::string line = qmp_command(7, "device_add", arguments);
      US_PROPERTY(line.find('\n') == line.size() - 1, line);
      US_PROPERTY(json::parse(line).at("arguments") == json::value(arguments), line);
    }
  }
  const std::string console = read_console(value);
  US_PROPERTY(console.size() <= kConsoleBytes + 2, console);
  const std::string words = last_words(console);
  US_PROPERTY(words.size() <= kMostWordsBytes, words);
  for (const char c : words) US_PROPERTY(c == '\n' || (c >= ' ' && c <= '~'), words);
  if (value.is_string()) {
    US_PROPERTY(last_words(value.get_string()).size() <= kMostWordsBytes, std::string(value.get_string()));
    for (const auto& [guest, host] : parse_usernet(value.get_string()))
      US_PROPERTY(guest != 0 && host != 0, std::to_string(guest));
  }
}

void check_message(const QmpMessage& message) {
  if (const auto* reply = std::get_if<QmpReturn>(&message)) return check_answer(reply->value);
  if (const auto* error = std::get_if<QmpErrorReply>(&message)) {
    // They go into sentences for people as they are.
    US_PROPERTY(fuzz::printable_utf8(error->description) && fuzz::printable_utf8(error->error_class),
                error->description);
    US_PROPERTY(error->description.size() <= 1100 && error->error_class.size() <= 100, error->description);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  const Fed whole = feed(bytes, size + 1);
  if (!whole.error.empty()) check_error(whole.error, kMostErrorBytes);
  const Fed pieces = feed(bytes, size % 13 + 1);
  US_PROPERTY(pieces.messages == whole.messages, pieces.messages);
  US_PROPERTY(pieces.error == whole.error, pieces.error);
  US_PROPERTY(pieces.pending_bytes == whole.pending_bytes, whole.messages);
  for (const QmpMessage& message : whole.list) check_message(message);
  return 0;
}

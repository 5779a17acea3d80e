#include "journal/format.hpp"

#include "journal/record_json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>

#include <boost/json.hpp>

namespace understudy::journal {

namespace {

namespace json = boost::json;

constexpr std::string_view kMagic = "understudy-journal ";
constexpr std::string_view kVersion1 = "understudy-journal 1 ";
constexpr std::string_view kVersion2 = "understudy-journal 2 ";

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320U : 0);
    table[i] = value;
  }
  return table;
}

// CRC-32 (IEEE 802.3), as in gzip.
std::uint32_t crc32(std::string_view text) {
  static constexpr auto kTable = crc_table();
  std::uint32_t value = ~0U;
  for (const char c : text) value = (value >> 8) ^ kTable[(value ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~value;
}

std::string hex(std::uint32_t value) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", value);
  return text;
}

// "CRC PAYLOAD" -> PAYLOAD, if the checksum holds.
std::optional<std::string_view> payload_of(std::string_view line) {
  if (line.size() < 10 || line[8] != ' ') return std::nullopt;
  std::uint32_t sum = 0;
  const auto [end, code] = std::from_chars(line.data(), line.data() + 8, sum, 16);
  if (code != std::errc() || end != line.data() + 8 || crc32(line.substr(9)) != sum) return std::nullopt;
  return line.substr(9);
}

std::optional<std::vector<std::string>> texts(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_array()) return std::nullopt;
  std::vector<std::string> found;
  for (const json::value& each : value->get_array()) {
    if (!each.is_string()) return std::nullopt;
    found.emplace_back(each.get_string());
  }
  return found;
}

std::optional<std::uint64_t> number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value->get_int64());
}

std::optional<core::Names> names_in(std::string_view payload) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 4;
  const json::value value =
      json::parse(json::string_view(payload.data(), payload.size()), error, {}, options);
  if (error || !value.is_object()) return std::nullopt;
  const json::object& object = value.get_object();
  const auto areas = number(object, "areas");
  const auto area_bytes = number(object, "area_bytes");
  auto guests = texts(object, "guests");
  auto apps = texts(object, "applications");
  if (!areas || *areas > UINT32_MAX || !area_bytes || !guests || !apps) return std::nullopt;
  return core::Names{static_cast<std::uint32_t>(*areas), *area_bytes, std::move(*guests), std::move(*apps)};
}

// The names in the first line, and where the records begin.
struct Header {
  core::Names names;
  std::size_t bytes = 0;
  bool older_form = false;
};

Result<Header> header_of(std::string_view text, const core::Names& names, const std::string& way_out) {
  const std::size_t end = text.find('\n');
  if (text.starts_with(kVersion2) && end != std::string_view::npos) {
    const auto payload = payload_of(text.substr(kVersion2.size(), end - kVersion2.size()));
    auto found = payload ? names_in(*payload) : std::nullopt;
    if (!found) return failure("1: the checksum is wrong" + way_out);
    return Header{std::move(*found), end + 1, false};
  }
  if (!text.starts_with(kVersion1))
    return failure("1: not an understudy journal of version 2 or 1" + way_out);
  const std::string written = header_line_1(names);
  if (text.starts_with(written)) return Header{names, written.size(), true};
  return failure(
      "1: it was written by an older release under another configuration, and does not say under which; "
      "start "
      "with that one, or end everything with `understudy down` first");
}

}  // namespace

std::string header_line(const core::Names& names) {
  const json::object object{{"areas", names.areas},
                            {"area_bytes", names.area_bytes},
                            {"guests", json::value_from(names.guests)},
                            {"applications", json::value_from(names.apps)}};
  const std::string payload = json::serialize(object);
  return std::string(kVersion2) + hex(crc32(payload)) + " " + payload + "\n";
}

std::string header_line_1(const core::Names& names) {
  std::string text = "areas " + std::to_string(names.areas) + " x " + std::to_string(names.area_bytes) + "\n";
  for (const std::string& guest : names.guests) text += "guest " + guest + "\n";
  for (const std::string& app : names.apps) text += "application " + app + "\n";
  return std::string(kVersion1) + hex(crc32(text)) + "\n";
}

bool is_torn_header(std::string_view text) {
  const std::size_t size = std::min(text.size(), kMagic.size());
  return text.find('\n') == std::string_view::npos && text.substr(0, size) == kMagic.substr(0, size);
}

std::string record_line(std::span<const core::Record> records) {
  const std::string payload = encode({records.begin(), records.end()});
  return hex(crc32(payload)) + " " + payload + "\n";
}

Result<Replayed> replay(std::string_view text, const core::Names& names) {
  const std::string way_out = "; end everything with `understudy down` (it needs no journal) and start again";
  Result<Header> header = header_of(text, names, way_out);
  if (!header) return tl::unexpected(header.error());
  Replayed replayed;
  replayed.names = std::move(header->names);
  replayed.older_form = header->older_form;
  std::size_t at = header->bytes;
  for (std::size_t number = 2; at < text.size(); ++number) {
    const std::size_t end = text.find('\n', at);
    const bool last = end == std::string_view::npos || end + 1 == text.size();
    const auto payload = end == std::string_view::npos ? std::nullopt : payload_of(text.substr(at, end - at));
    if (!payload && last) {
      replayed.torn = true;
      break;
    }
    if (!payload) return failure(std::to_string(number) + ": the checksum is wrong" + way_out);
    const Result<std::vector<core::Record>> records = decode(*payload);
    if (!records) return failure(std::to_string(number) + ": " + records.error().message + way_out);
    replayed.records.insert(replayed.records.end(), records->begin(), records->end());
    at = end + 1;
  }
  replayed.complete_bytes = at;
  return replayed;
}

}  // namespace understudy::journal

#include "journal/format.hpp"

#include "journal/record_json.hpp"

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>

namespace understudy::journal {

namespace {

constexpr std::string_view kMagic = "understudy-journal 1 ";

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

}  // namespace

std::string header_line(const std::string& setup_text) {
  return std::string(kMagic) + hex(crc32(setup_text)) + "\n";
}

std::string record_line(std::span<const core::Record> records) {
  const std::string payload = encode({records.begin(), records.end()});
  return hex(crc32(payload)) + " " + payload + "\n";
}

Result<Replayed> replay(std::string_view text, const std::string& header) {
  const std::string way_out = "; end everything with `understudy down` (it needs no journal) and start again";
  if (!text.starts_with(kMagic)) return failure("1: not an understudy journal of version 1" + way_out);
  if (!text.starts_with(header)) {
    return failure(
        "1: it was written under another configuration; start with that one, or end everything with "
        "`understudy down` first");
  }
  Replayed replayed;
  std::size_t at = header.size();
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

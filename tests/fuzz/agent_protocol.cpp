// The agent protocol's two decoders, and the cutting of a stream into lines. The input is a stream of lines.
#include "property.hpp"
#include "protocol/codec.hpp"
#include "protocol/limits.hpp"
#include "protocol/line_reader.hpp"

#include <vector>

using namespace understudy;
using namespace understudy::protocol;
using fuzz::check_error;

namespace {

constexpr std::size_t kMostErrorBytes = 300;
constexpr std::size_t kShortLine = 40;  // so that a short input has lines that are too long

template <class Decode>
void check_decoder(std::string_view line, Decode decode) {
  const auto message = decode(line);
  if (!message) return check_error(message.error().message, kMostErrorBytes);
  const auto again = encode(*message);
  US_PROPERTY(again.has_value(), line);
  US_PROPERTY(again->find('\n') == again->size() - 1, *again);
  // No encoding of ours is longer than the shortest way to have said the same.
  US_PROPERTY(again->size() <= line.size() + 1, *again);
  const auto back = decode(std::string_view(*again).substr(0, again->size() - 1));
  US_PROPERTY(back.has_value() && *back == *message, *again);
  US_PROPERTY(!type_name(*message).empty(), line);
}

std::vector<std::string> lines_of(std::string_view bytes, std::size_t piece_bytes, std::size_t most,
                                  LineReader::OnOversized on_oversized) {
  std::vector<std::string> lines;
  LineReader reader(most, on_oversized);
  for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
    std::string_view piece = bytes.substr(at, piece_bytes);
    while (!piece.empty()) {
      const std::size_t before = piece.size();
      const auto found = reader.take(piece);
      US_PROPERTY(piece.size() < before || found == LineReader::Found::oversized, bytes);
      US_PROPERTY(reader.line().size() <= most, reader.line());
      if (found == LineReader::Found::line) lines.emplace_back(reader.line());
      if (found == LineReader::Found::oversized) lines.emplace_back("\n");  // no line has that in it
    }
  }
  return lines;
}

// What a reader has to find when it drops lines that are too long, said in another way.
std::vector<std::string> cut(std::string_view bytes, std::size_t most) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view line = bytes.substr(0, end);
    if (line.size() > most) {
      lines.emplace_back("\n");
    } else if (end != std::string_view::npos) {
      lines.emplace_back(line);
    }
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
  }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  constexpr auto kResynchronise = LineReader::OnOversized::resynchronise;
  US_PROPERTY(lines_of(bytes, size % 7 + 1, kShortLine, kResynchronise) == cut(bytes, kShortLine), bytes);
  (void)lines_of(bytes, size % 7 + 1, kShortLine, LineReader::OnOversized::fail);
  for (const std::string& line : lines_of(bytes, size % 11 + 1, kMaxLineToAgent, kResynchronise)) {
    check_decoder(line, decode_to_agent);
    check_decoder(line, decode_from_agent);
  }
  check_decoder(bytes, decode_to_agent);  // and with its line ends, as nobody should send it
  check_decoder(bytes, decode_from_agent);
  return 0;
}

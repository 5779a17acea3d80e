#include "gateway/listening.hpp"

#include <unistd.h>

#include <array>
#include <charconv>
#include <sstream>
#include <string>

namespace understudy::gateway {

namespace {

constexpr std::string_view kListening = "0A";
// 127.0.0.1 and 0.0.0.0, as a little-endian kernel writes them.
constexpr std::string_view kLoopback = "0100007F";
constexpr std::string_view kEverywhere = "00000000";

enum class Row { of_another, past_the_listening, found };

// "  0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 ..."
Row read_row(const std::string& line, std::uint16_t port, uid_t& uid) {
  std::istringstream words(line);
  std::string number, local, remote, state, queues, timer, retransmitted, owner;
  if (!(words >> number >> local >> remote >> state >> queues >> timer >> retransmitted >> owner))
    return Row::of_another;
  if (number.empty() || number.back() != ':') return Row::of_another;  // the heading
  if (state != kListening) return Row::past_the_listening;
  const auto colon = local.find(':');
  if (colon == std::string::npos) return Row::of_another;
  const std::string_view address = std::string_view(local).substr(0, colon);
  unsigned here = 0;
  std::from_chars(local.data() + colon + 1, local.data() + local.size(), here, 16);
  if (here != port || (address != kLoopback && address != kEverywhere)) return Row::of_another;
  std::from_chars(owner.data(), owner.data() + owner.size(), uid);
  return Row::found;
}

// Takes whole rows off the front of the text, up to the one that decides; of_another: none does yet.
Row read_rows(std::string& text, std::uint16_t port, uid_t& uid) {
  std::size_t begin = 0;
  Row row = Row::of_another;
  for (std::size_t end = 0; row == Row::of_another; begin = end + 1) {
    end = text.find('\n', begin);
    if (end == std::string::npos) break;
    row = read_row(text.substr(begin, end - begin), port, uid);
  }
  text.erase(0, begin);
  return row;
}

}  // namespace

std::optional<uid_t> who_listens(const ProcessNetwork& network, std::uint16_t port) {
  // Of this thread: the process as a whole is in its own.
  const auto table = network.open("/proc/thread-self/net/tcp");
  if (!table) return std::nullopt;
  std::string text;
  std::array<char, 4096> chunk{};
  uid_t uid = 0;
  for (;;) {
    const ssize_t count = ::read(table->get(), chunk.data(), chunk.size());
    if (count <= 0) return std::nullopt;
    text.append(chunk.data(), static_cast<std::size_t>(count));
    switch (read_rows(text, port, uid)) {
      case Row::found: return uid;
      case Row::past_the_listening: return std::nullopt;
      case Row::of_another: break;
    }
  }
}

std::optional<uid_t> who_listens(std::uint16_t port, std::string_view table) {
  std::string text(table);
  uid_t uid = 0;
  return read_rows(text, port, uid) == Row::found ? std::optional(uid) : std::nullopt;
}

}  // namespace understudy::gateway

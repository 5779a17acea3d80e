#include "gateway/listening.hpp"

#include <charconv>
#include <fstream>
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

std::optional<uid_t> look(std::uint16_t port, std::istream& table) {
  uid_t uid = 0;
  for (std::string line; std::getline(table, line);) {
    const Row row = read_row(line, port, uid);
    if (row == Row::found) return uid;
    if (row == Row::past_the_listening) break;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uid_t> who_listens(const ProcessNetwork& network, std::uint16_t port) {
  std::optional<uid_t> uid;
  // Of this thread: the process as a whole is in its own.
  const auto entered = network.within([&] {
    std::ifstream table("/proc/thread-self/net/tcp");
    uid = look(port, table);
  });
  return entered ? uid : std::nullopt;
}

std::optional<uid_t> who_listens(std::uint16_t port, std::string_view table) {
  std::istringstream text{std::string(table)};
  return look(port, text);
}

}  // namespace understudy::gateway

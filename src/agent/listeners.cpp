#include "agent/listeners.hpp"

#include "agent/os.hpp"

#include <algorithm>

namespace understudy::agent {

namespace {

constexpr std::string_view kListening = "0A";
constexpr std::string_view kLoopback6 = "00000000000000000000000001000000";
constexpr std::string_view kMappedLoopback = "0000000000000000FFFF00000100007F";

std::string_view take_word(std::string_view& line) {
  line = trim(line);
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

// An IPv4 address stands as a number of the machine's byte order: 127.0.0.1 is 0100007F, and all of 127/8
// ends in 7F.
bool loopback(std::string_view address) {
  if (address.size() == 8) return address.ends_with("7F");
  return address == kLoopback6 || address == kMappedLoopback;
}

Listens listens_in(std::uint16_t port, std::string_view table) {
  Listens found = Listens::nowhere;
  while (!table.empty()) {
    std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(std::min(line.size() + 1, table.size()));
    (void)take_word(line);  // "0:"
    const std::string_view local = take_word(line);
    (void)take_word(line);  // the other end
    const std::size_t colon = local.find(':');
    if (take_word(line) != kListening || colon == std::string_view::npos) continue;
    if (parse_number(local.substr(colon + 1), 16) != port) continue;
    if (!loopback(local.substr(0, colon))) return Listens::for_others;
    found = Listens::on_loopback_only;
  }
  return found;
}

}  // namespace

Listens listens(std::uint16_t port, std::string_view tcp, std::string_view tcp6) {
  return std::max(listens_in(port, tcp), listens_in(port, tcp6));
}

}  // namespace understudy::agent

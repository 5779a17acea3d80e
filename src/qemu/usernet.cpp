#include "qemu/usernet.hpp"

#include <charconv>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace understudy::qemu {

namespace {

std::optional<std::uint16_t> port_of(const std::string& text) {
  std::uint16_t port = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (code != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

}  // namespace

// Hub -1 (net0):
//   Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
//   TCP[HOST_FORWARD]  13       127.0.0.1 33465       10.0.2.15  6379     0     0
ForwardedPorts parse_usernet(std::string_view text) {
  ForwardedPorts ports;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::vector<std::string> fields;
    for (std::string word; words >> word;) fields.push_back(word);
    if (fields.size() < 6 || fields[0] != "TCP[HOST_FORWARD]") continue;
    const auto host = port_of(fields[3]);
    const auto guest = port_of(fields[5]);
    if (host && guest) ports.emplace(*guest, *host);
  }
  return ports;
}

}  // namespace understudy::qemu

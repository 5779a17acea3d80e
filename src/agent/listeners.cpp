#include "agent/listeners.hpp"

#include "base/kernel_files.hpp"
#include "base/unique_fd.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

namespace understudy::agent {

namespace {

constexpr std::string_view kListening = "0A";
constexpr int kWordsBeforeInode = 5;  // queues, timer, retransmits, user, timeout
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

struct Listener {
  std::string_view address;
  std::string_view inode;
};

std::vector<Listener> listeners_in(std::uint16_t port, std::string_view table) {
  std::vector<Listener> found;
  while (!table.empty()) {
    std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(std::min(line.size() + 1, table.size()));
    (void)take_word(line);  // "0:"
    const std::string_view local = take_word(line);
    (void)take_word(line);  // the other end
    const std::size_t colon = local.find(':');
    if (take_word(line) != kListening || colon == std::string_view::npos) continue;
    if (parse_number(local.substr(colon + 1), 16) != port) continue;
    for (int i = 0; i < kWordsBeforeInode; ++i) (void)take_word(line);
    found.push_back({local.substr(0, colon), take_word(line)});
  }
  return found;
}

Listens listens_in(std::uint16_t port, std::string_view table) {
  Listens found = Listens::nowhere;
  for (const Listener& listener : listeners_in(port, table))
    found = std::max(found, loopback(listener.address) ? Listens::on_loopback_only : Listens::for_others);
  return found;
}

// As a program that listens for everybody would find it.
bool taken(std::uint16_t port) {
  const UniqueFd tried(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  (void)::setsockopt(tried.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  return tried && ::bind(tried.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
         errno == EADDRINUSE;
}

bool has_open(const std::string& process, const std::string& socket) {
  const std::string directory = "/proc/" + process + "/fd/";
  for (const std::string& name : list_directory(directory)) {
    char target[64];
    const ssize_t length = ::readlink((directory + name).c_str(), target, sizeof target);
    if (length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == socket) return true;
  }
  return false;
}

std::optional<pid_t> who_has_open(std::string_view inode) {
  const std::string socket = "socket:[" + std::string(inode) + "]";
  for (const std::string& name : list_directory("/proc")) {
    const auto pid = parse_number(name);
    if (pid && has_open(name, socket)) return static_cast<pid_t>(*pid);
  }
  return std::nullopt;
}

}  // namespace

Listens listens(std::uint16_t port, std::string_view tcp, std::string_view tcp6) {
  return std::max(listens_in(port, tcp), listens_in(port, tcp6));
}

std::optional<pid_t> who_listens(std::uint16_t port) {
  if (!taken(port)) return std::nullopt;
  for (const char* const file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const std::string table = read_file(file).value_or("");
    for (const Listener& listener : listeners_in(port, table)) {
      if (const auto pid = who_has_open(listener.inode)) return pid;
    }
  }
  return std::nullopt;
}

}  // namespace understudy::agent

#pragma once

#include "base/unique_fd.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>

// Plain sockets for clients and applications of the tests. Everything ends by itself: a call that would wait
// for longer than kPatience_ms gives up, so that a broken gateway fails a test and does not hang it.
namespace understudy::gateway::test {

inline constexpr int kPatience_ms = 20'000;

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

class Stream {
 public:
  Stream() = default;
  explicit Stream(UniqueFd fd) : fd_(std::move(fd)) {}

  // errno of the connect in `error`, 0 when it worked.
  static Stream connect(std::uint16_t port, int* error = nullptr) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = loopback(port);
    const int result = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    if (error != nullptr) *error = result == 0 ? 0 : errno;
    return Stream(std::move(fd));
  }
  [[nodiscard]] bool readable(int limit_ms = kPatience_ms) const {
    pollfd wait{fd_.get(), POLLIN, 0};
    return ::poll(&wait, 1, limit_ms) > 0;
  }
  bool send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t count = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  // As many bytes as fit without waiting.
  [[nodiscard]] std::size_t send_until_full(std::size_t most) const {
    const std::string block(64 << 10, 'x');
    std::size_t sent = 0;
    while (sent < most) {
      const ssize_t count = ::send(fd_.get(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count > 0) {
        sent += static_cast<std::size_t>(count);
        continue;
      }
      pollfd wait{fd_.get(), POLLOUT, 0};
      if (::poll(&wait, 1, 300) <= 0) break;  // nobody took anything for a good while
    }
    return sent;
  }
  // Exactly `size` bytes, fewer at an end or an error.
  [[nodiscard]] std::string receive(std::size_t size) const {
    std::string text(size, '\0');
    std::size_t have = 0;
    while (have < size && readable()) {
      const ssize_t count = ::recv(fd_.get(), text.data() + have, size - have, 0);
      if (count <= 0) break;
      have += static_cast<std::size_t>(count);
    }
    text.resize(have);
    return text;
  }
  // How it ended: 0 orderly, ECONNRESET reset, EAGAIN not at all, EMSGSIZE: there is a byte.
  [[nodiscard]] int ending(int limit_ms = kPatience_ms) const {
    if (!readable(limit_ms)) return EAGAIN;
    char byte = 0;
    const ssize_t count = ::recv(fd_.get(), &byte, 1, 0);
    if (count > 0) return EMSGSIZE;
    return count == 0 ? 0 : errno;
  }
  void shutdown_send() const { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    fd_.reset();
  }
  [[nodiscard]] int fd() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  UniqueFd fd_;
};

// An application that listens on a port of its own choice.
class Server {
 public:
  explicit Server(std::uint16_t port = 0) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address = loopback(port);
    socklen_t size = sizeof(address);
    good_ =
        ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0 && ::listen(fd_.get(), 1024) == 0;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] bool has_connection(int limit_ms = kPatience_ms) const {
    pollfd wait{fd_.get(), POLLIN, 0};
    return ::poll(&wait, 1, limit_ms) > 0;
  }
  [[nodiscard]] Stream accept() const {
    return has_connection() ? Stream(UniqueFd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)))
                            : Stream();
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  std::uint16_t port_ = 0;
  bool good_ = false;
};

// A port that was free a moment ago, and from which no connection takes its own end: those are from 32768.
inline std::uint16_t free_port() {
  std::random_device random;
  for (;;) {
    const auto port = static_cast<std::uint16_t>(20'000 + random() % 12'000);
    if (Server(port).good()) return port;
  }
}

class RunDirectory {
 public:
  RunDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "understudy-gateway-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~RunDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace understudy::gateway::test

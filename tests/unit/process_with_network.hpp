#pragma once

#include "base/process_network.hpp"
#include "base/unique_fd.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string_view>

namespace understudy::test {

// A process that is in a network of its own, as a guest's QEMU is, and says `word` to whoever connects to
// `port` of its loopback.
class ProcessWithNetwork {
 public:
  ProcessWithNetwork(std::uint16_t port, std::string_view word, uid_t user = 0) {
    std::array<int, 2> pipe{-1, -1};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return;
    const UniqueFd from_child(pipe[0]);
    UniqueFd to_parent(pipe[1]);
    pid_ = ::fork();
    if (pid_ == 0) serve(port, word, user, to_parent.get());
    to_parent.reset();
    char ready = 0;
    ready_ = ::read(from_child.get(), &ready, 1) == 1;
  }
  ~ProcessWithNetwork() { end(); }
  ProcessWithNetwork(const ProcessWithNetwork&) = delete;
  ProcessWithNetwork& operator=(const ProcessWithNetwork&) = delete;

  // False: this root may not make networks.
  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  [[noreturn]] static void serve(std::uint16_t port, std::string_view word, uid_t user, int ready) {
    if (::unshare(CLONE_NEWNET) != 0 || !raise_loopback() || ::setresuid(user, user, user) != 0) ::_exit(1);
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket, 64) != 0 || ::write(ready, "+", 1) != 1)
      ::_exit(1);
    for (;;) {
      const int client = ::accept4(socket, nullptr, nullptr, SOCK_CLOEXEC);
      (void)!::write(client, word.data(), word.size());  // and it stays open
    }
  }

  pid_t pid_ = -1;
  bool ready_ = false;
};

}  // namespace understudy::test

#pragma once

#include "base/own_network.hpp"
#include "base/unique_fd.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string_view>

namespace understudy::test {

// Whether root makes the network and becomes the user, or the user makes it together with a user namespace.
enum class NetworkBy { root, its_user };

// A process that is in a network of its own, as a guest's QEMU is, and says `word` to whoever connects to
// `port` of its loopback. One of an ordinary user's has made it itself.
class ProcessWithNetwork {
 public:
  ProcessWithNetwork(std::uint16_t port, std::string_view word, uid_t user = ::geteuid(),
                     NetworkBy by = NetworkBy::root) {
    std::array<int, 2> pipe{-1, -1};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return;
    const UniqueFd from_child(pipe[0]);
    UniqueFd to_parent(pipe[1]);
    pid_ = ::fork();
    if (pid_ == 0) serve(port, word, user, by, to_parent.get());
    to_parent.reset();
    char ready = 0;
    ready_ = ::read(from_child.get(), &ready, 1) == 1;
    if (!ready_ && by == NetworkBy::its_user && may_have_user_namespace(user))
      ADD_FAILURE() << "uid " << user << " may have a user namespace, and got no network with it";
  }
  ~ProcessWithNetwork() { end(); }
  ProcessWithNetwork(const ProcessWithNetwork&) = delete;
  ProcessWithNetwork& operator=(const ProcessWithNetwork&) = delete;

  // False: this user may not make networks.
  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  static bool become(uid_t user) {
    return ::setresuid(user, user, user) == 0 && ::prctl(PR_SET_DUMPABLE, 1) == 0;  // as exec makes it
  }

  // With capabilities in it, which AppArmor may take.
  static bool may_have_user_namespace(uid_t user) {
    const pid_t child = ::fork();
    if (child == 0) {
      const bool may = become(user) && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
                       ::open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC) >= 0;
      ::_exit(may ? 0 : 1);
    }
    int status = 0;
    return ::waitpid(child, &status, 0) == child && status == 0;
  }

  [[noreturn]] static void serve(std::uint16_t port, std::string_view word, uid_t user, NetworkBy by,
                                 int ready) {
    const bool placed =
        by == NetworkBy::root ? take_own_network() && become(user) : become(user) && take_own_network();
    if (!placed) ::_exit(1);
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

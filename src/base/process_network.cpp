// A thread of a process that has others cannot enter a user namespace, and nobody who entered one comes back.
// So a network that came with a user namespace is entered by a child: it shares our memory and our
// descriptors, enters, makes the one descriptor, which is ours by that, and ends, all while this thread waits
// (as it does in vfork()). That takes about 0.1 ms, however much memory and however many descriptors we have,
// because nothing is copied.
//
// A helper for each guest that lives as long as QEMU does, and sends sockets to us, would be a process to
// start, to watch and to end, in the daemon and in the gateway. A child by fork() takes 10 ms for a
// gateway with 8,000 connections.
#include "base/process_network.hpp"

#include "base/signals_blocked.hpp"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace understudy {

namespace {

constexpr std::size_t kChildStackBytes = 64UL * 1024;

UniqueFd open_namespace(const char* path) {
  return UniqueFd(::open(path, O_RDONLY | O_CLOEXEC));
}

bool is_same(int one, int other) {
  struct stat a {
  }, b{};
  return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

tl::unexpected<Error> cannot_enter(int error) {
  return failure(std::string("the network of a guest's QEMU cannot be entered: ") + std::strerror(error));
}

Result<UniqueFd> made(int descriptor, int error) {
  if (descriptor >= 0) return UniqueFd(descriptor);
  return failure(std::string("no descriptor can be made: ") + std::strerror(error));
}

// What the child is to do, and what came of it.
struct Visit {
  int users;
  int network;
  const std::function<int()>& make;
  bool entered = false;
  int made = -1;
  int error = 0;
};

// The child, in our memory, while this thread waits: nothing but system calls.
int visit(void* argument) {
  auto& visit = *static_cast<Visit*>(argument);
  visit.entered = ::setns(visit.users, CLONE_NEWUSER) == 0 && ::setns(visit.network, CLONE_NEWNET) == 0;
  if (visit.entered) visit.made = visit.make();
  visit.error = errno;
  return 0;
}

// False: there can be no child now; errno says why.
bool send_child(Visit& argument) {
  std::vector<char> stack(kChildStackBytes);
  // A handler of ours that ran in it would do so in the midst of our memory.
  const SignalsBlocked blocked;
  // No signal tells of its end, and no wait for children in general takes it for one of its own.
  const pid_t child =
      ::clone(visit, stack.data() + stack.size(), CLONE_VM | CLONE_FILES | CLONE_VFORK, &argument);
  if (child < 0) return false;
  while (::waitpid(child, nullptr, __WCLONE) < 0 && errno == EINTR) {
  }
  return true;
}

}  // namespace

Result<ProcessNetwork> ProcessNetwork::of(pid_t pid) {
  ProcessNetwork network;
  UniqueFd its = open_namespace(("/proc/" + std::to_string(pid) + "/ns/net").c_str());
  if (!its && (errno == EACCES || errno == EPERM)) return network;
  UniqueFd ours = its ? open_namespace("/proc/thread-self/ns/net") : UniqueFd();
  const UniqueFd our_users = ours ? open_namespace("/proc/thread-self/ns/user") : UniqueFd();
  if (!our_users)
    return failure("the network of process " + std::to_string(pid) + ": " + std::strerror(errno));
  if (is_same(its.get(), ours.get())) return network;
  UniqueFd users(::ioctl(its.get(), NS_GET_USERNS));
  network.other_ = std::move(its);
  network.ours_ = std::move(ours);
  if (users && !is_same(users.get(), our_users.get())) network.users_ = std::move(users);
  return network;
}

Result<UniqueFd> ProcessNetwork::make_within(const std::function<int()>& make) const {
  if (is_ours()) {
    const int descriptor = make();
    return made(descriptor, errno);
  }
  if (users_) {
    Visit visit{users_.get(), other_.get(), make};
    if (!send_child(visit)) return cannot_enter(errno);
    return visit.entered ? made(visit.made, visit.error) : cannot_enter(visit.error);
  }
  if (::setns(other_.get(), CLONE_NEWNET) != 0) return cannot_enter(errno);
  const int descriptor = make();
  const int error = errno;
  if (::setns(ours_.get(), CLONE_NEWNET) != 0) {
    // What this thread did next would be done in a guest's network.
    std::fprintf(stderr, "cannot come back from the network of a guest's QEMU: %s\n", std::strerror(errno));
    std::abort();
  }
  return made(descriptor, error);
}

Result<UniqueFd> ProcessNetwork::tcp_socket(int family) const {
  return make_within([family] { return ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
}

Result<UniqueFd> ProcessNetwork::open(const char* path) const {
  return make_within([path] { return ::open(path, O_RDONLY | O_CLOEXEC); });
}

}  // namespace understudy

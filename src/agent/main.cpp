#include "agent/agent.hpp"
#include "agent/early_init.hpp"
#include "agent/inheritance.hpp"
#include "agent/os.hpp"
#include "agent/standing.hpp"
#include "base/version.hpp"
#include "protocol/limits.hpp"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace understudy;
using namespace understudy::agent;

constexpr const char* kUsage =
    "usage: understudy-agent [--port PATH] [--cgroup DIR] [--run-dir DIR] [--no-init]\n"
    "The agent of an Understudy guest. As process 1 it is the guest's init.\n"
    "  --port PATH    virtio-serial port, terminal or unix socket to the daemon\n"
    "                 (default: the virtio-serial port named org.understudy.agent.0)\n"
    "  --cgroup DIR   cgroup v2 directory to hold applications in (default: /sys/fs/cgroup; '': none)\n"
    "  --run-dir DIR  for notify sockets (default: /run/understudy)\n"
    "  --no-init      mount, load and configure nothing, even as process 1\n";

struct Arguments {
  Options options;
  bool init = ::getpid() == 1;
};

// Exits for --help and on wrong usage, unless it is process 1: an init that ends panics its kernel, and the
// kernel hands it whatever it did not understand of its own command line.
Arguments parse(int argc, char** argv) {
  Arguments arguments;
  const bool may_exit = ::getpid() != 1;
  const auto usage = [&](std::FILE* to, int status) {
    if (!may_exit) return;
    std::fputs(kUsage, to);
    std::exit(status);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    std::string* value = nullptr;
    if (argument == "--port") value = &arguments.options.port;
    if (argument == "--cgroup") value = &arguments.options.cgroup_root;
    if (argument == "--run-dir") value = &arguments.options.run_directory;
    if (argument == "--no-init") {
      arguments.init = false;
    } else if (argument == "--help" || argument == "-h") {
      usage(stdout, 0);
    } else if (argument == "--version") {
      if (may_exit) {
        std::printf("understudy-agent %s, protocol version %u\n", version(), protocol::kVersion);
        std::exit(0);
      }
    } else if (value == nullptr || i + 1 == argc) {
      usage(stderr, 2);
    } else {
      *value = argv[++i];
    }
  }
  return arguments;
}

// Ends the loop on SIGTERM, SIGINT or SIGQUIT; as init these mean nothing to us. Others that people send to
// daemons (reload, reopen logs) have nothing to do here, and must not end it without a word.
class Termination {
 public:
  explicit Termination(Loop& loop) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGQUIT);
    ::sigprocmask(SIG_BLOCK, &mask, nullptr);
    for (const int ignored : {SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGTTOU, SIGTTIN})
      ::signal(ignored, SIG_IGN);
    if (::getpid() == 1) return;
    signals_ = UniqueFd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
    watch_ = loop.watch(signals_.get(), EPOLLIN, [&loop](std::uint32_t) { loop.stop(); });
  }

 private:
  UniqueFd signals_;
  Loop::Watch watch_;
};

int run(const Arguments& arguments) {
  auto loop = Loop::create();
  if (!loop) {
    say(loop.error().message);
    return 1;
  }
  const Termination termination(**loop);
  for (const std::string& missing : take_standing()) say(missing);
  const auto agent = Agent::create(**loop, arguments.options);
  if (!agent) {
    say(agent.error().message);
    return 1;
  }
  (*loop)->run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> missing = take_known_state();
  Arguments arguments = parse(argc, argv);
  if (arguments.init) early_init();
  for (const std::string& one : missing) say(one);
  arguments.options.sysctl_directory = "/proc/sys";
  if (arguments.init) {
    arguments.options.own_files = OwnFilesOf::our_image;
  } else if (::geteuid() == 0) {
    arguments.options.own_files = OwnFilesOf::an_ordinary_guest;
  }
  const int status = run(arguments);
  // Init must not end: its kernel would panic and the reason would scroll away.
  while (::getpid() == 1) ::pause();
  return status;
}

#include "gateway/gateway.hpp"

#include "gateway/control_server.hpp"
#include "gateway/limits.hpp"
#include "gateway/log.hpp"
#include "gateway/services.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <system_error>

namespace understudy::gateway {

namespace {

// Raises the limit of open descriptors as far as it goes; what is left for connections of it.
std::size_t most_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const auto descriptors = static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  return std::max(descriptors, kReservedDescriptors + kDescriptorsPerConnection) - kReservedDescriptors;
}

// The one message to whoever started this process; the pipe is left after it.
void tell_starter(const std::string& text) {
  std::fprintf(stdout, "%s\n", text.c_str());
  std::fflush(stdout);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
}

}  // namespace

int run_gateway(const GatewayOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);  // a terminal that goes takes nobody's connections with it
  boost::asio::io_context loop(1);
  Services services(loop, most_connections() / kDescriptorsPerConnection);
  std::error_code error;
  const auto socket = std::filesystem::absolute(options.control_socket, error);
  auto control = ControlServer::create(loop, services, socket, [&loop] { loop.stop(); });
  if (!control) {
    say(control.error().message);
    tell_starter("error: " + control.error().message);
    return 1;
  }
  boost::asio::signal_set signals(loop, SIGTERM);
  signals.async_wait([&](boost::system::error_code code, int) {
    if (!code) loop.stop();
  });
  std::filesystem::current_path("/", error);  // holds no directory of somebody else's
  say(fmt::format("process {} serves {}", ::getpid(), socket.string()));
  tell_starter("ready");
  loop.run();
  say("ended");
  return 0;
}

}  // namespace understudy::gateway

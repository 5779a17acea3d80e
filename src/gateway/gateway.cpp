#include "gateway/gateway.hpp"

#include "base/inherited_state.hpp"
#include "gateway/control_server.hpp"
#include "gateway/kept_listeners.hpp"
#include "gateway/limits.hpp"
#include "gateway/log.hpp"
#include "gateway/services.hpp"
#include "gateway/signal_watch.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>

namespace understudy::gateway {

namespace {

// What is left for connections of the open descriptors that this process may have.
std::size_t most_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
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
  const auto refuse = [](const std::string& why) {
    say(why);
    tell_starter("error: " + why);
    return 1;
  };
  auto listeners = KeptListeners::inherited();
  const auto state = enter_known_state(ProgramKind::service);
  if (!state) return refuse(state.error().message);
  for (const std::string& remark : state->remarks) say(remark);
  const auto absolute = absolute_path(options.control_socket.string());
  if (!absolute) return refuse(absolute.error().message);
  const std::filesystem::path socket = *absolute;
  if (auto left = leave_starter(listeners.descriptors()); !left) return refuse(left.error().message);
  boost::asio::io_context loop(1);
  Services services(loop, most_connections() / kDescriptorsPerConnection, std::move(listeners));
  auto control = ControlServer::create(loop, services, socket, [&loop] { loop.stop(); });
  if (!control) return refuse(control.error().message);
  const SignalWatch signals(loop, "the gateway",
                            {.end = [&loop](int) { loop.stop(); }, .without_meaning = say});
  say(fmt::format("process {} serves {}", ::getpid(), socket.string()));
  tell_starter("ready");
  loop.run();
  say("ended");
  return 0;
}

}  // namespace understudy::gateway

#include "gateway/gateway_process.hpp"

#include "gateway/limits.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace understudy::gateway {

namespace {

std::vector<std::string> arguments_of(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/cmdline", pid), std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string each; std::getline(in, each, '\0');) arguments.push_back(each);
  return arguments;
}

Error not_ours(pid_t pid, const std::string& why) {
  return {fmt::format(
      "process {} listens on the gateway's socket, and {}; it is left alone: end it if you know it, "
      "kill {}",
      pid, why, pid)};
}

}  // namespace

Result<GatewayProcess> GatewayProcess::behind(const ControlLink& link, const std::filesystem::path& socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(link.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) {
    return failure(fmt::format("the gateway's process is not known: {}", std::strerror(errno)));
  }
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!process) {
    return failure(
        fmt::format("the gateway, process {}, cannot be held: {}", peer.pid, std::strerror(errno)));
  }
  if (peer.uid != ::geteuid())
    return tl::unexpected(not_ours(peer.pid, fmt::format("belongs to uid {}", peer.uid)));
  std::error_code error;
  const auto arguments = arguments_of(peer.pid);
  const auto wanted = std::filesystem::absolute(socket, error).lexically_normal();
  const bool is_one = arguments.size() == 3 && arguments[1] == "--gateway" &&
                      std::filesystem::path(arguments[2]).lexically_normal() == wanted;
  if (!is_one)
    return tl::unexpected(not_ours(peer.pid, "was not started as a gateway of this run directory"));
  return GatewayProcess(peer.pid, std::move(process));
}

void GatewayProcess::kill() const {
  ::syscall(SYS_pidfd_send_signal, fd_.get(), SIGKILL, nullptr, 0);
}

bool GatewayProcess::ended_within(std::chrono::milliseconds limit) const {
  pollfd gone{fd_.get(), POLLIN, 0};
  return ::poll(&gone, 1, static_cast<int>(limit.count())) > 0;
}

Result<void> end_gateway(const std::filesystem::path& socket) {
  auto link = ControlLink::connect(socket);
  if (!link) return tl::unexpected(link.error());
  if (!*link) return {};
  const auto process = GatewayProcess::behind(**link, socket);
  // Answered or not, what counts is that the process is gone and its addresses are free.
  const auto asked = (*link)->exchange(request::Quit{}, kQuitLimit);
  if (!process) return asked ? Result<void>() : tl::unexpected(process.error());
  if (asked && process->ended_within(kQuitLimit)) return {};
  process->kill();
  if (process->ended_within(kQuitLimit)) return {};
  return failure(fmt::format("the gateway, process {}, does not end; kill it: kill -9 {}", process->pid(),
                             process->pid()));
}

}  // namespace understudy::gateway

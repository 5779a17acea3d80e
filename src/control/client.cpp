#include "control/client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace understudy::control {

namespace json = boost::json;

Result<Client> Client::connect(const std::filesystem::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() >= sizeof address.sun_path)
    return failure(path + " is too long for a socket (107 bytes at most)");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failure("no understudyd answers on " + path + " (" + std::strerror(errno) +
                   "); start one with `understudy up -f FILE`, or name its directory with --run-dir");
  }
  return Client(std::move(fd));
}

Result<void> Client::send(const Command& command) {
  const std::string line = encode(command) + "\n";
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t put = ::send(fd_.get(), line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failure(std::string("understudyd went away: ") + std::strerror(errno));
    done += static_cast<std::size_t>(put);
  }
  return {};
}

std::optional<std::string> Client::read_line() {
  for (;;) {
    const std::size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    char chunk[16384];
    const ssize_t got = ::recv(fd_.get(), chunk, sizeof chunk, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    pending_.append(chunk, static_cast<std::size_t>(got));
  }
}

Result<json::value> Client::ask(const Command& command) {
  if (const Result<void> sent = send(command); !sent) return tl::unexpected(sent.error());
  const std::optional<std::string> line = read_line();
  if (!line) return failure("understudyd went away before it answered");
  boost::system::error_code error;
  const json::value answer = json::parse(*line, error);
  if (error || !answer.is_object()) return failure("understudyd answered something that is not JSON");
  const json::object& object = answer.get_object();
  if (const json::value* result = object.if_contains("result")) return *result;
  const json::value* why = object.if_contains("error");
  return failure(why != nullptr && why->is_string() ? std::string(why->get_string()) : "understudyd refused");
}

Result<void> Client::events(bool follow, const std::function<bool(const json::object&)>& each) {
  if (const Result<void> sent = send(command::Events{follow}); !sent) return sent;
  while (const std::optional<std::string> line = read_line()) {
    boost::system::error_code error;
    const json::value event = json::parse(*line, error);
    if (error || !event.is_object()) return failure("understudyd sent an event that is not JSON");
    if (!each(event.get_object())) return {};
  }
  return {};
}

void Client::wait_for_end() {
  // Taken while the connection stands: the id cannot have gone to another process yet.
  ucred peer{};
  socklen_t size = sizeof peer;
  UniqueFd process;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
    process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  }
  while (read_line()) {
  }
  pollfd ended{process.get(), POLLIN, 0};
  while (process && ::poll(&ended, 1, -1) < 0 && errno == EINTR) {
  }
}

}  // namespace understudy::control

#include "agent/port.hpp"

#include "base/kernel_files.hpp"
#include "protocol/limits.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace understudy::agent {

namespace {

int connect_unix(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!fd || path.size() >= sizeof address.sun_path) return -1;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return -1;
  return fd.release();
}

int open_device(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  termios terminal{};
  if (fd >= 0 && ::tcgetattr(fd, &terminal) == 0) {  // a terminal would echo and edit what passes through it
    ::cfmakeraw(&terminal);
    (void)::tcsetattr(fd, TCSANOW, &terminal);
  }
  return fd;
}

bool hangs_up(int fd) {
  pollfd state{fd, POLLOUT, 0};
  return ::poll(&state, 1, 0) < 0 || (state.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

std::optional<std::string> find_port(std::string_view name, const std::string& directory) {
  for (const std::string& port : list_directory(directory)) {
    const auto text = read_file(directory + "/" + port + "/name");
    if (text && trim(*text) == name) return "/dev/" + port;
  }
  return std::nullopt;
}

Port::Port(Loop& loop, std::string path, Handlers handlers)
    : loop_(loop),
      path_(std::move(path)),
      handlers_(std::move(handlers)),
      reader_(protocol::kMaxLineToAgent, protocol::LineReader::OnOversized::resynchronise) {}

void Port::open() {
  if (fd_) return;
  reopen_ = loop_.after(kReopen, [this] { open(); });  // replaced when it works
  std::string path = path_;
  if (path.empty()) path = find_port(protocol::kPortName).value_or("");
  struct stat what {};
  if (path.empty() || ::stat(path.c_str(), &what) != 0) return;
  const bool socket = S_ISSOCK(what.st_mode);
  const int fd = socket ? connect_unix(path) : open_device(path);
  if (fd < 0) return;
  const std::string base = path.substr(path.rfind('/') + 1);
  opened(fd, path_.empty() || exists("/sys/class/virtio-ports/" + base) ||
                 path.starts_with("/dev/virtio-ports/"));
}

void Port::opened(int fd, bool lasting) {
  reopen_.reset();
  fd_ = UniqueFd(fd);
  lasting_ = lasting;
  reader_.reset();
  watch();
  if (hangs_up(fd)) return;
  set_connected(true);
  handlers_.opened();
}

void Port::watch() {
  awaiting_room_ = false;
  watched_ = wanted_events();
  watch_ = loop_.watch(fd_.get(), watched_, [this](std::uint32_t epoll_events) { on_events(epoll_events); });
}

// Room to write is also the only sign that a host came whose greeting was read before the kernel had noticed
// that it is there: the two come on queues of their own.
std::uint32_t Port::wanted_events() const {
  return EPOLLIN | EPOLLET | (awaiting_room_ || !connected_ ? EPOLLOUT : 0U);
}

void Port::watch_for() {
  if (watch_ && std::exchange(watched_, wanted_events()) != wanted_events()) watch_.change(watched_);
}

void Port::await_room(bool wanted) {
  awaiting_room_ = wanted;
  watch_for();
}

void Port::look_again() {
  if (!fd_) open();
}

void Port::on_events(std::uint32_t epoll_events) {
  const bool hung_up = (epoll_events & (EPOLLHUP | EPOLLERR)) != 0;
  // A hang-up may be told together with what the next listener has said already: first the end, then that.
  const bool came = !hung_up && !connected_;
  set_connected(!hung_up);
  if (came) handlers_.opened();
  if ((epoll_events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read();
  if (!fd_ || silent_) return;
  if (hung_up && !lasting_) return close_and_reopen();
  if (connected_) flush();
}

void Port::read() {
  char buffer[4096];
  while (fd_ && !silent_) {
    const ssize_t got = ::read(fd_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      if (got == 0 && lasting_) return;  // the host's end is closed; EPOLLHUP says so too
      set_connected(false);              // the device itself is gone, or the socket's other end
      return close_and_reopen();
    }
    if (!connected_ && lasting_ && !hangs_up(fd_.get())) set_connected(true);
    std::string_view bytes(buffer, static_cast<std::size_t>(got));
    while (!bytes.empty()) {
      const auto found = reader_.take(bytes);
      if (found == protocol::LineReader::Found::line) handlers_.line(reader_.line());
      if (found == protocol::LineReader::Found::oversized) handlers_.oversized();
    }
  }
}

bool Port::send(std::string line) {
  if (!connected_) return false;
  if (queued_bytes_ + line.size() > kMaxQueuedBytes) {
    dropped_ = true;
    return false;
  }
  queued_bytes_ += line.size();
  queue_.push_back(std::move(line));
  flush();
  return true;
}

void Port::flush() {
  while (fd_ && !silent_ && !queue_.empty()) {
    const std::string& front = queue_.front();
    const ssize_t put = ::write(fd_.get(), front.data() + front_written_, front.size() - front_written_);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return await_room(true);  // or gone, told by EPOLLHUP
    front_written_ += static_cast<std::size_t>(put);
    queued_bytes_ -= static_cast<std::size_t>(put);
    if (front_written_ < front.size()) continue;
    queue_.pop_front();
    front_written_ = 0;
  }
  if (!queue_.empty()) return;
  await_room(false);
  if (std::exchange(dropped_, false)) handlers_.drained();
}

void Port::set_connected(bool connected) {
  if (std::exchange(connected_, connected) == connected) return;
  // Nothing meant for one listener is said to the next, who will be told where everything stands.
  queue_.clear();
  queued_bytes_ = front_written_ = 0;
  dropped_ = false;
  reader_.reset();
  watch_for();
  if (!connected) handlers_.disconnected();
}

void Port::close_and_reopen() {
  watch_.reset();
  fd_.reset();
  reopen_ = loop_.after(kReopen, [this] { open(); });
}

void Port::fall_silent(Duration duration) {
  silent_ = true;
  watch_.reset();
  silence_ = loop_.after(duration, [this] {
    silent_ = false;
    if (!fd_) return;
    watch();  // anew: tells the present state even though it is edge-triggered
    flush();
  });
}

}  // namespace understudy::agent

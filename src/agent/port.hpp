#pragma once

#include "agent/loop.hpp"
#include "protocol/line_reader.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::agent {

// The agent's end of the line to the daemon: a virtio-serial port, or in tests a unix socket or a terminal.
//
// When the host's end is closed (the daemon died), a virtio-serial port says EPOLLHUP for as long as nobody
// opens it again, and reads give end of file at once. It is watched edge-triggered, so that this wakes us
// once; the daemon that comes back is known by the first thing it says. Any other kind of file is closed and
// opened again. Room for writing is only waited for while something waits to be written: the port would wake
// us for every beat that the host takes.
class Port {
 public:
  struct Handlers {
    std::function<void(std::string_view line)> line;
    std::function<void()> opened;  // and somebody is at the other end
    std::function<void()> disconnected;
    std::function<void()> oversized;  // a line was too long and was dropped
    std::function<void()> drained;    // messages were dropped for want of room; there is room again
  };

  static constexpr std::size_t kMaxQueuedBytes = 256 * 1024;
  static constexpr Duration kReopen = std::chrono::milliseconds(200);

  // path: empty finds the port named org.understudy.agent.0 under /sys/class/virtio-ports.
  Port(Loop& loop, std::string path, Handlers handlers);

  // Tries to open it now, and later by itself if that does not work.
  void open();
  // A virtio-ports device came or changed: worth another look.
  void look_again();

  // One whole line, newline included. False: nobody is there or there is no room, and it is dropped.
  bool send(std::string line);
  // Nothing waits to be written: the host keeps up.
  [[nodiscard]] bool idle() const { return queue_.empty(); }

  // Neither reads nor writes until this much time has passed (a drill).
  void fall_silent(Duration duration);

 private:
  void opened(int fd, bool lasting);
  void on_events(std::uint32_t epoll_events);
  void read();
  void flush();
  void set_connected(bool connected);
  void close_and_reopen();
  void watch();
  [[nodiscard]] std::uint32_t wanted_events() const;
  void watch_for();
  void await_room(bool wanted);

  Loop& loop_;
  std::string path_;
  Handlers handlers_;
  UniqueFd fd_;
  bool lasting_ = false;  // a virtio-serial port: it stays when the host's end is closed
  bool connected_ = false;
  bool silent_ = false;
  bool dropped_ = false;
  std::uint32_t watched_ = 0;  // epoll events
  bool awaiting_room_ = false;
  protocol::LineReader reader_;
  std::deque<std::string> queue_;
  std::size_t queued_bytes_ = 0;
  std::size_t front_written_ = 0;
  Loop::Watch watch_;
  Loop::Timer reopen_;
  Loop::Timer silence_;
};

// "/dev/vport1p1", by the ports' names under `directory`.
[[nodiscard]] std::optional<std::string> find_port(std::string_view name,
                                                   const std::string& directory = "/sys/class/virtio-ports");

}  // namespace understudy::agent

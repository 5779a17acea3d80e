#pragma once

#include "agent/loop.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::agent {

// What the kernel says of a device.
struct Uevent {
  std::string action;     // "add", "online", "change", ...
  std::string path;       // "/devices/system/memory/memory36"
  std::string subsystem;  // "memory", "virtio-ports", "block", "net", ...

  [[nodiscard]] std::string_view name() const;  // the path's last component
};

[[nodiscard]] std::optional<Uevent> parse_uevent(std::string_view datagram);

// The kernel's device events (NETLINK_KOBJECT_UEVENT).
class Uevents {
 public:
  struct Handlers {
    std::function<void(const Uevent&)> event;
    std::function<void()> lost;  // some were missed: look for yourself
  };

  // Listens from here on; what comes is kept until somebody waits or watches.
  [[nodiscard]] static Result<std::unique_ptr<Uevents>> create();

  // Calls the handlers from the loop.
  void watch(Loop& loop, Handlers handlers);

  // For early init, before there is a loop: true as soon as the condition holds, tried after each event.
  [[nodiscard]] bool wait(const std::function<bool()>& condition, Duration limit);

 private:
  explicit Uevents(UniqueFd socket) : socket_(std::move(socket)) {}
  void read();

  UniqueFd socket_;
  Handlers handlers_;
  Loop::Watch watch_;
};

}  // namespace understudy::agent

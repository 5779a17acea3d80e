#pragma once

#include "agent/loop.hpp"
#include "agent/users.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace understudy::agent {

inline constexpr std::size_t kMaxDatagramBytes = 1 << 20;  // more than a socket of the kernel's takes

// NOTIFY_SOCKET of sd_notify(3): where an application says READY=1 itself. Only its user can write to it.
class NotifySocket {
 public:
  [[nodiscard]] static Result<std::unique_ptr<NotifySocket>> create(Loop& loop, std::string path,
                                                                    const User& user,
                                                                    std::function<void()> on_ready);
  ~NotifySocket();

 private:
  NotifySocket(UniqueFd socket, std::string path, std::function<void()> on_ready)
      : socket_(std::move(socket)), path_(std::move(path)), on_ready_(std::move(on_ready)) {}
  void read();

  UniqueFd socket_;
  std::string path_;
  std::function<void()> on_ready_;
  Loop::Watch watch_;
};

// Whether a datagram of NAME=VALUE lines says READY=1.
[[nodiscard]] bool says_ready(std::string_view datagram);

}  // namespace understudy::agent

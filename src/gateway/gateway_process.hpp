#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "gateway/control_link.hpp"

#include <sys/types.h>

#include <filesystem>

namespace understudy::gateway {

// The process at the other end of a control link, held by a descriptor: whatever becomes of its number, a
// signal goes to it or to nobody.
class GatewayProcess {
 public:
  // An error when it is not proven that it is a gateway of ours: it has to listen on the socket (the kernel
  // says who does), belong to this user, and have been started as `--gateway SOCKET`.
  [[nodiscard]] static Result<GatewayProcess> behind(const ControlLink& link,
                                                     const std::filesystem::path& socket);

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int fd() const { return fd_.get(); }  // readable when it has ended
  void kill() const;                                  // also when it is stopped
  [[nodiscard]] bool ended_within(std::chrono::milliseconds limit) const;

 private:
  GatewayProcess(pid_t pid, UniqueFd fd) : pid_(pid), fd_(std::move(fd)) {}

  pid_t pid_;
  UniqueFd fd_;
};

// Ends the gateway that answers on `socket`, and returns when its process is gone; nothing to do when none
// answers. One that does not react is killed, if it is proven to be one.
[[nodiscard]] Result<void> end_gateway(const std::filesystem::path& socket);

}  // namespace understudy::gateway

#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "gateway/protocol.hpp"

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace understudy::gateway {

// The daemon's end of a connection to the gateway: lines out at once, lines in as they come. Never blocks for
// longer than it is told to.
class ControlLink {
 public:
  // None: nobody listens on `socket`. An error: somebody seems to, but cannot be reached.
  [[nodiscard]] static Result<std::optional<ControlLink>> connect(const std::filesystem::path& socket);

  [[nodiscard]] int fd() const { return fd_.get(); }
  // Gives the kernel what it takes now and keeps the rest for flush(). Numbers the requests from 1; returns
  // the number.
  [[nodiscard]] Result<std::uint64_t> post(const Request& request);
  [[nodiscard]] bool has_unsent() const { return !unsent_.empty(); }
  [[nodiscard]] Result<void> flush();
  // Given to the kernel, whole, when it returns.
  [[nodiscard]] Result<std::uint64_t> send(const Request& request, std::chrono::milliseconds limit);
  // The next answer that came; none when the limit is over first. An error ends the connection's usefulness.
  [[nodiscard]] Result<std::optional<Answer>> receive(std::chrono::milliseconds limit);
  // What came beside answers since the last call: copies of the sockets of addresses.
  [[nodiscard]] std::vector<UniqueFd> take_descriptors() { return std::exchange(descriptors_, {}); }
  // Sends and takes the answer, dropping answers to earlier requests. A refusal by the gateway is an error.
  [[nodiscard]] Result<Answer> exchange(const Request& request, std::chrono::milliseconds limit);

 private:
  explicit ControlLink(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::uint64_t last_id_ = 0;
  std::string unsent_;
  std::string received_;
  std::vector<UniqueFd> descriptors_;
};

}  // namespace understudy::gateway

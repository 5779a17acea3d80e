#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace understudy::gateway {

// A gateway on its way: `program --gateway SOCKET` as a process that outlives this one, in a session of its
// own, with no descriptor of ours but copies of the `listeners` (kept_listeners.hpp), its messages appended
// to `log`.
class GatewayStart {
 public:
  [[nodiscard]] static Result<GatewayStart> begin(const std::filesystem::path& program,
                                                  const std::filesystem::path& socket,
                                                  const std::filesystem::path& log,
                                                  const std::vector<int>& listeners = {});
  ~GatewayStart();
  GatewayStart(GatewayStart&&) noexcept;
  GatewayStart& operator=(GatewayStart&&) = delete;

  [[nodiscard]] int fd() const { return from_child_.get(); }  // readable when there is something to hear
  // What it said so far, without waiting: ready, or why it cannot be; none: nothing yet.
  [[nodiscard]] std::optional<Result<void>> hear();
  [[nodiscard]] Result<void> wait(std::chrono::milliseconds limit);
  [[nodiscard]] Error too_late() const;

 private:
  GatewayStart(UniqueFd from_child, pid_t between, std::filesystem::path log);
  [[nodiscard]] Error cannot(const std::string& why) const;

  UniqueFd from_child_;
  pid_t between_;  // forks the gateway and ends at once; ours to reap
  std::filesystem::path log_;
  std::string heard_;
};

}  // namespace understudy::gateway

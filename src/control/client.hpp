#pragma once

#include "base/unique_fd.hpp"
#include "control/command.hpp"

#include <filesystem>
#include <functional>

#include <boost/json.hpp>

namespace understudy::control {

// The command line's end of the control socket. Blocking; one request at a time.
class Client {
 public:
  // An error means that no daemon listens there.
  [[nodiscard]] static Result<Client> connect(const std::filesystem::path& socket);

  [[nodiscard]] Result<boost::json::value> ask(const Command& command);
  // Sends Events and calls `each` for every event until it returns false or the daemon ends.
  [[nodiscard]] Result<void> events(bool follow, const std::function<bool(const boost::json::object&)>& each);
  // Returns when the daemon's process has ended.
  void wait_for_end();

 private:
  explicit Client(UniqueFd fd) : fd_(std::move(fd)) {}
  [[nodiscard]] Result<void> send(const Command& command);
  [[nodiscard]] std::optional<std::string> read_line();

  UniqueFd fd_;
  std::string pending_;
};

}  // namespace understudy::control

#pragma once

#include "base/time.hpp"
#include "base/unique_fd.hpp"
#include "control/command.hpp"

#include <sys/types.h>

#include <filesystem>
#include <functional>

#include <boost/json.hpp>

namespace understudy::control {

// A daemon that lives answers at once. One that says nothing for so long is stopped, stuck or starved.
inline constexpr Duration kAnswerLimit = std::chrono::seconds(10);

// What a client waits for, and how long.
struct Waiting {
  Duration answer_limit = kAnswerLimit;
  int wake_fd = -1;  // becomes readable when the waiting is to end; -1: nothing does that
};

// The command line's end of the control socket. Blocking, but never for longer than Waiting says; one request
// at a time. Every error names what stands in the way: nobody listens, it is somebody else's, or it listens
// and does not answer.
class Client {
 public:
  [[nodiscard]] static Result<Client> connect(const std::filesystem::path& socket, Waiting waiting = {});
  // Whether somebody listens there, answering or not.
  [[nodiscard]] static bool listens(const std::filesystem::path& socket);

  [[nodiscard]] Result<boost::json::value> ask(const Command& command);

  enum class End {
    all_told,      // what had happened by now, and nothing more was asked for
    enough,        // `each` or `idle` returned false
    interrupted,   // by the wake_fd
    daemon_ended,  // while it was followed
  };
  // Sends Events and calls `each` for every event, and `idle` whenever nothing has happened for as long as an
  // answer may take.
  [[nodiscard]] Result<End> events(bool follow, const std::function<bool(const boost::json::object&)>& each,
                                   const std::function<bool()>& idle = {});

  // Whether the daemon's process ended within this time.
  [[nodiscard]] bool wait_for_end(Duration limit);
  [[nodiscard]] bool interrupted() const;

 private:
  enum class Heard { line, nothing, closed, interrupted };
  Client(UniqueFd fd, Waiting waiting);
  [[nodiscard]] Result<void> send(const Command& command);
  // Waits at most so long.
  [[nodiscard]] Heard read_line(std::string& line, Duration limit);
  [[nodiscard]] Error no_answer() const;
  [[nodiscard]] bool has_answered() const;

  UniqueFd fd_;
  Waiting waiting_;
  pid_t daemon_ = 0;
  UniqueFd process_;  // the daemon's, taken while the connection stands
  std::string pending_;
};

}  // namespace understudy::control

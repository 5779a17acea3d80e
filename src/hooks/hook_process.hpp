#pragma once

#include "base/error.hpp"
#include "base/time.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::hooks {

inline constexpr std::size_t kKeptBytes = 1024;   // of its output, the latest
inline constexpr std::size_t kLongestLine = 200;  // of it, in an event; in bytes

struct HookCommand {
  std::vector<std::string> argv;         // argv[0] is an absolute path
  std::vector<std::string> environment;  // all of it, "NAME=value"
  std::string input;                     // what it reads on standard input
  Duration limit{};
};

// One command while it runs, in a process group of its own. Starting it never waits for the program's file:
// even one on a file system that hangs holds up the child alone.
class HookProcess final {
 public:
  // Empty: exit status 0. Else "exit status 3; its last words: ..." or "killed: it ran for more than 10 s".
  using Done = std::function<void(const std::string& failure)>;

  // `done` is called once, from the loop, unless the object is destroyed before.
  [[nodiscard]] static Result<std::unique_ptr<HookProcess>> start(boost::asio::io_context& loop,
                                                                  const HookCommand& command, Done done);
  // Kills what still runs of it.
  ~HookProcess();
  HookProcess(const HookProcess&) = delete;
  HookProcess& operator=(const HookProcess&) = delete;

 private:
  HookProcess(boost::asio::io_context& loop, pid_t pid, UniqueFd pidfd, UniqueFd output, Duration limit,
              Done done);
  void watch();
  void listen();
  bool read_some();  // false: nothing more is there now
  void kill_group() const;
  void ended();
  [[nodiscard]] std::string last_line() const;

  pid_t pid_;
  boost::asio::posix::stream_descriptor pidfd_;
  boost::asio::posix::stream_descriptor output_;
  boost::asio::steady_timer timer_;
  Duration limit_;
  Done done_;
  std::string tail_;  // of what it printed
  bool late_ = false;
  bool reaped_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::hooks

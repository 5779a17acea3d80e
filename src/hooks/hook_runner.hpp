#pragma once

#include "config/config.hpp"
#include "core/outputs.hpp"
#include "hooks/hook_process.hpp"

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>

namespace understudy::hooks {

// Runs the operator's commands on events. Nothing ever waits for them: an event is noted in no time, commands
// are started from the loop later, a few at a time and each with a limit; what is too much is dropped.
class HookRunner final {
 public:
  static constexpr std::size_t kMostAtOnce = 4;
  static constexpr std::size_t kMostWaiting = 64;
  using Tell = std::function<void(const core::Notice&)>;  // writes an event; called from the loop

  HookRunner(boost::asio::io_context& loop, std::vector<config::Hook> hooks,
             const std::filesystem::path& run_dir, Tell tell);
  // Ends the commands that still run.
  ~HookRunner();
  HookRunner(const HookRunner&) = delete;
  HookRunner& operator=(const HookRunner&) = delete;

  // One line of the event log (control/event_log.hpp). Calls nothing and starts nothing before it returns.
  void event(std::string_view line);

  [[nodiscard]] std::size_t running() const { return running_.size(); }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

 private:
  struct Job {
    std::string what;  // "hook /usr/local/bin/tell on takeover-done"
    HookCommand command;
  };

  void wake();
  void pump();
  void begin(const Job& job);
  void finished(std::uint64_t number, const std::string& what, const std::string& failure);
  void failed(const std::string& what, const std::string& why) const;

  boost::asio::io_context& loop_;
  std::vector<config::Hook> hooks_;
  std::vector<std::string> environment_;  // what every command gets
  Tell tell_;
  std::deque<Job> waiting_;
  std::map<std::uint64_t, std::unique_ptr<HookProcess>> running_;
  std::uint64_t next_ = 0;
  bool woken_ = false;
  bool dropping_ = false;  // until everything that waited has been started
  bool told_ = false;      // that it is dropping
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::hooks

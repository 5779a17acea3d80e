#pragma once

#include "core/events.hpp"
#include "qemu/limits.hpp"
#include "qemu/monitor_reply.hpp"
#include "qemu/qmp_client.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

inline constexpr std::size_t kMostEventKinds =
    8;  // that are named in one telling; the rest is counted as one
inline constexpr std::size_t kMostEventNameBytes = 64;

// Looks at what is plugged into one running guest, and tells it as GuestSeen: when it is asked to, and soon
// after QEMU told of something that nobody else handles. A guest can cause such events as often as it likes,
// so they are counted, and there is one look within `look_again` whatever comes. A look that gets no answer
// is none.
class Inspector final {
 public:
  using Emit = std::function<void(core::event::GuestSeen)>;

  // can_look: nothing is on its way in or out, and the guest is not being stopped.
  Inspector(boost::asio::io_context& loop, std::shared_ptr<QmpClient> monitor, core::GuestRun run,
            const Limits& limits, bool has_places_for_vcpus, std::function<bool()> can_look, Emit emit);

  void look();
  // What QEMU told of a running guest, but for its stops.
  void on_event(const QmpEvent& event);
  // The guest is stopped: whatever the monitor still answers is about the past, and nothing more is asked.
  void end();

 private:
  struct Answers;
  void look_soon();
  void ask(std::string_view command, QmpClient::Callback answered);
  void finish(const Answers& answers);
  void count(const std::string& what);
  [[nodiscard]] std::string take_unexpected();

  std::shared_ptr<QmpClient> monitor_;
  core::GuestRun run_;
  Limits limits_;
  bool has_places_for_vcpus_;
  std::function<bool()> can_look_;
  Emit emit_;
  std::shared_ptr<boost::asio::steady_timer> soon_;
  std::chrono::steady_clock::time_point last_look_{};
  bool looking_ = false;
  bool armed_ = false;
  bool ended_ = false;
  std::map<std::string, std::uint64_t> unexpected_;  // since the last look that was answered
};

}  // namespace understudy::qemu

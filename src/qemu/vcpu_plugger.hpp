#pragma once

#include "core/events.hpp"
#include "qemu/limits.hpp"
#include "qemu/monitor_reply.hpp"
#include "qemu/qmp_client.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

// Moves vCPUs of applications into and out of one running guest. Every request is answered by one event with
// the number that is in the guest then, whatever went wrong; a guest is never ended for a vCPU's sake, not
// even when the monitor does not answer in time: the next request asks QEMU what is there before it does
// anything.
class VcpuPlugger final {
 public:
  using Emit = std::function<void(core::Event)>;

  // can_unplug: see unplugs_safely().
  VcpuPlugger(boost::asio::io_context& loop, std::shared_ptr<QmpClient> monitor, core::GuestRun run,
              const Limits& limits, bool can_unplug, Emit emit);

  // QEMU's software emulation (TCG) cannot be trusted to unplug a vCPU: in QEMU 7.2 the next one that is
  // plugged corrupts its heap and ends it (seen in four tries of four, whichever place and name), and a
  // single-threaded one ends at once. There a vCPU stays in its guest until that ends, for its application
  // to find when it comes back.
  [[nodiscard]] static bool unplugs_safely(Accelerator accelerator) {
    return accelerator == Accelerator::kvm;
  }

  // What is in a guest that an earlier daemon left.
  void adopt(const std::vector<VcpuPlace>& places) { learn(places); }
  [[nodiscard]] std::vector<core::event::PluggedVcpus> plugged() const;

  void plug(core::AppId app, std::uint32_t count);
  void unplug(core::AppId app);
  void on_event(const QmpEvent& event);
  // The guest is stopped: whatever the monitor still answers is about the past, and nothing more is asked.
  void end();

 private:
  struct Plugging {
    core::AppId app;
    std::uint32_t count = 0;
    std::string why;  // the first thing that did not work
  };
  struct Leaving {
    std::shared_ptr<boost::asio::steady_timer> limit;
  };

  void ask(std::string_view command, boost::json::object arguments, QmpClient::Callback answered);
  void learn(const std::vector<VcpuPlace>& places);
  [[nodiscard]] std::uint32_t count_of(core::AppId app) const;
  void next();
  void add_devices(const std::vector<VcpuPlace>& places);
  void finish_plugging(const std::string& why);

  void delete_devices(core::AppId app);
  void look();
  void gone(VcpuName name);
  void finish_leaving(core::AppId app, const std::string& why);

  boost::asio::io_context& loop_;
  std::shared_ptr<QmpClient> monitor_;
  core::GuestRun run_;
  Limits limits_;
  bool can_unplug_;
  Emit emit_;
  std::set<VcpuName> in_;  // as QEMU said last
  std::deque<std::shared_ptr<Plugging>>
      plugging_;  // the first is under way: two at once would choose the same places
  std::map<core::AppId, Leaving> leaving_;  // asked, not answered
  bool ended_ = false;
};

}  // namespace understudy::qemu

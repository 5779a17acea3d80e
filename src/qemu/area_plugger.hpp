#pragma once

#include "core/events.hpp"
#include "pool/area_pool.hpp"
#include "qemu/limits.hpp"
#include "qemu/monitor_reply.hpp"
#include "qemu/qmp_client.hpp"
#include "qemu/spawn.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

// Moves areas into and out of one running guest, as DIMMs. Every area of every call is answered by exactly
// one event: AreaPlugged or PlugFailed, AreaUnplugged or UnplugFailed. Where the monitor leaves it open what
// happened (no answer in time), no event could be true: `broken` is called instead, whose owner ends the
// guest, and the end of the guest answers everything.
class AreaPlugger final {
 public:
  using Emit = std::function<void(core::Event)>;
  using Broken = std::function<void(const std::string& why)>;

  // With a user, an area is given to it before it is plugged, and taken back when it is out of the guest;
  // what is in the guest when that ends is the owner's to take back.
  AreaPlugger(boost::asio::io_context& loop, std::shared_ptr<QmpClient> monitor, pool::AreaPool& pool,
              core::GuestRun run, const Limits& limits, std::optional<HostUser> user, Emit emit,
              Broken broken);

  // What is in a guest that an earlier daemon left.
  void adopt(const std::vector<PluggedArea>& devices, const std::vector<core::AreaId>& backends);

  void plug(std::span<const core::AreaId> areas);
  void unplug(std::span<const core::AreaId> areas);
  void on_event(const QmpEvent& event);
  // The guest is stopped, and what it had is given to others: whatever the monitor still answers is about the
  // past. Nothing is said, asked or given back any more.
  void end();

  [[nodiscard]] bool busy() const { return plugging_ > 0 || !leaving_.empty(); }

 private:
  struct Plugging {
    core::AreaId area;
    bool backend = false;  // object-add succeeded
    bool device = false;   // device_add succeeded
    std::string why;       // the first thing that did not
  };
  struct Batch {
    std::vector<Plugging> areas;
    std::size_t answers = 0;
    bool undecided = false;  // the monitor did not answer
  };
  struct Leaving {
    std::shared_ptr<boost::asio::steady_timer> limit;  // none: DEVICE_DELETED came, the backing goes
  };

  void ask(std::string_view command, boost::json::object arguments, QmpClient::Callback answered);
  void add_backend(const std::shared_ptr<Batch>& batch, std::size_t index);
  void add_device(const std::shared_ptr<Batch>& batch, std::size_t index);
  void locate(const std::shared_ptr<Batch>& batch);
  void finish(const Batch& batch, const std::vector<PluggedArea>& devices);
  void take_back(const Plugging& area);
  [[nodiscard]] std::string path_for_qemu(core::AreaId area) const;
  [[nodiscard]] std::uint32_t times_given(core::AreaId area) const;
  void is_out(core::AreaId area, std::uint32_t given);
  bool decided(Batch& batch, const QmpReply& reply);

  void begin_leaving(core::AreaId area);
  void device_gone(core::AreaId area);
  void fail_leaving(core::AreaId area, const std::string& why, bool tried_in_guest = true);
  void remove_backend(core::AreaId area);

  boost::asio::io_context& loop_;
  std::shared_ptr<QmpClient> monitor_;
  pool::AreaPool& pool_;
  core::GuestRun run_;
  Limits limits_;
  std::optional<HostUser> user_;
  Emit emit_;
  Broken broken_;
  std::map<core::AreaId, std::uint64_t> plugged_;  // with their addresses
  std::set<core::AreaId> stray_backends_;          // mapped without a device
  std::set<core::AreaId> unasked_;                 // the guest let go of them, and nobody waits for that
  std::map<core::AreaId, Leaving> leaving_;
  std::set<core::AreaId> coming_;                // of the batches under way
  std::set<core::AreaId> removing_;              // their object-del is not answered yet
  std::map<core::AreaId, std::uint32_t> given_;  // how often each was made ready to be plugged
  std::size_t plugging_ = 0;                     // batches under way
  bool ended_ = false;
};

}  // namespace understudy::qemu

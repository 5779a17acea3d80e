#pragma once

#include "engine/ports.hpp"
#include "pool/area_pool.hpp"
#include "qemu/host_bytes.hpp"
#include "qemu/process_scan.hpp"
#include "qemu/qemu_run.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

// Guests as QEMU processes. Several runs of one guest can be known at a time (an old one being discarded);
// whatever an old one still says is about its own run. QEMUs outlive this object and this process.
class QemuHypervisor final : public engine::Hypervisor {
 public:
  struct Settings {
    std::filesystem::path run_dir;  // absolute; exists
    std::vector<GuestPlan> guests;  // under the core's ids, see guest_plans()
    std::vector<std::string> apps;  // names of the applications, under the core's ids
    Qemu qemu;                      // see find_qemu() and choose_accelerator()
    Limits limits;
    config::Dumps dumps;  // where dump() writes
    // A delegated cgroup that was divided (base/cgroup.hpp); empty: QEMUs have no cgroups of their own.
    std::string cgroups;
  };
  // Called from the loop. available: the agent's socket and the forwarded ports of the run can be used
  // (before its GuestLaunched); gone: no more (before its GuestFenced or GuestExited). At most once each per
  // run.
  struct Listener {
    std::function<void(core::GuestRun)> available;
    std::function<void(core::GuestRun)> gone;
  };

  // Checks names and socket paths; starts nothing. `pool` must outlive it. Events are posted to `loop`.
  [[nodiscard]] static Result<std::unique_ptr<QemuHypervisor>> create(boost::asio::io_context& loop,
                                                                      Settings settings, pool::AreaPool& pool,
                                                                      engine::EventSink sink);
  ~QemuHypervisor() override;
  QemuHypervisor(const QemuHypervisor&) = delete;
  QemuHypervisor& operator=(const QemuHypervisor&) = delete;

  void set_listener(Listener listener) { listener_ = std::move(listener); }
  // Whether the QEMUs that are started from now on have a network of their own each.
  void set_own_network(bool own) { settings_.qemu.own_network = own; }

  // engine::Hypervisor. What each answers stands in core/events.hpp; GuestExited and GuestFenced of a run end
  // whatever else was asked of it. The guest's OS powering off or restarting by itself is GuestExited: it is
  // ended then, since nothing in it can be gone on with, and it was no panic.
  void launch(core::GuestRun run) override;
  void adopt(core::GuestRun run) override;
  void fence(core::GuestRun run) override;
  void probe(core::GuestRun run) override;
  void plug(core::GuestRun run, std::span<const core::AreaId> areas) override;
  void unplug(core::GuestRun run, std::span<const core::AreaId> areas) override;
  void dump(core::GuestRun run) override;
  void plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) override;
  void unplug_vcpus(core::GuestRun run, core::AppId app) override;
  void discard(core::GuestRun run) override;

  // The host port, on 127.0.0.1, that leads to this port of the guest.
  [[nodiscard]] std::optional<std::uint16_t> forwarded_port(core::GuestRun run,
                                                            std::uint16_t guest_port) const;
  // The same for the port of an application's address, as this run was started with it.
  [[nodiscard]] std::optional<std::uint16_t> forwarded_port(core::GuestRun run, const std::string& app) const;
  // What the run was started with; none: this daemon does not know the run.
  [[nodiscard]] const RunDefinition* definition(core::GuestRun run) const;
  // The unix socket of the agent's virtio-serial port; listens from the launch on.
  [[nodiscard]] std::optional<std::filesystem::path> agent_socket(core::GuestRun run) const;
  // Host memory that the run's QEMU occupies (its share of what it has in common with others, areas
  // included). Never blocks; exact after the first call, up to a few seconds old.
  [[nodiscard]] std::optional<HostMemory> host_memory(core::GuestRun run);

  // Its process; 0 when there is none.
  [[nodiscard]] pid_t pid(core::GuestRun run) const;

  // Drills: really cause the fault.
  Result<void> sigstop(core::GuestRun run);  // a hang: nothing in it runs any more, not even QEMU
  Result<void> sigkill(core::GuestRun run);  // the end of the virtual machine

 private:
  QemuHypervisor(boost::asio::io_context& loop, Settings settings, pool::AreaPool& pool,
                 engine::EventSink sink);
  [[nodiscard]] Result<void> open_areas();
  QemuRun* find(core::GuestRun run) const;
  QemuRun& make(core::GuestRun run, RunDefinition definition);
  [[nodiscard]] RunDefinition recorded(core::GuestRun run, const std::vector<FoundProcess>& processes) const;
  [[nodiscard]] std::optional<std::string> process_of_another_run(core::GuestRun run) const;
  void emit(core::Event event);
  void post(std::function<void()> call);
  [[nodiscard]] Marker marker(core::GuestRun run) const;
  [[nodiscard]] bool busy() const;

  // What was asked of a run that this daemon does not know yet, while the host's processes are looked at.
  struct Asked {
    bool launch = false;
    bool adopt = false;
    bool fence = false;
    bool discard = false;
  };
  // Of a run that is not known yet: false when it was waiting to be launched, which it is not any more. Else
  // it is done as soon as its process has been looked for.
  bool once_looked_for(core::GuestRun run, bool Asked::*what);
  void look_for(core::GuestRun run, Asked asked);
  void look_again(core::GuestRun run);
  void looked(core::GuestRun run, Asked asked, const std::vector<FoundProcess>& processes);
  void not_found(core::GuestRun run, Asked asked, const std::vector<FoundProcess>& processes);
  [[nodiscard]] std::optional<FoundProcess> written_process(core::GuestRun run) const;
  // One run after the other, again and again.
  void look_at_next();

  boost::asio::io_context& loop_;
  Settings settings_;
  pool::AreaPool& pool_;
  UniqueFd areas_;                           // their directory, for QEMUs with users of their own
  std::shared_ptr<engine::EventSink> sink_;  // posted calls happen only while it lives
  DumpStore dumps_;
  Listener listener_;
  HostBytes host_bytes_;
  ProcessScan scan_;
  std::map<core::GuestRun, Asked> looking_;
  std::map<core::GuestRun, std::unique_ptr<QemuRun>> runs_;
  std::map<core::GuestId, Worker> starts_;  // each its own: one whose image does not answer holds up nobody
  Worker dump_files_;
  boost::asio::steady_timer look_;
  std::optional<core::GuestRun> looked_at_;  // last
};

}  // namespace understudy::qemu

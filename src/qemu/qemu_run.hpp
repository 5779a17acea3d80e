#pragma once

#include "core/events.hpp"
#include "pool/area_pool.hpp"
#include "qemu/area_plugger.hpp"
#include "qemu/command_line.hpp"
#include "qemu/dump_store.hpp"
#include "qemu/guest_files.hpp"
#include "qemu/inspector.hpp"
#include "qemu/limits.hpp"
#include "qemu/monitor_reply.hpp"
#include "qemu/proc.hpp"
#include "qemu/qemu_cgroup.hpp"
#include "qemu/qemu_process.hpp"
#include "qemu/qmp_client.hpp"
#include "qemu/run_definition.hpp"
#include "qemu/usernet.hpp"
#include "qemu/vcpu_plugger.hpp"
#include "qemu/worker.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::qemu {

// One life of one guest: its QEMU from launch (or adoption) to the end of its process. Every request ends in
// the one event that answers it, or in GuestExited or GuestFenced of this run, which answer whatever was
// open.
//
// When a run counts as stopped (and only then GuestFenced or GuestExited is said):
//   - its process has ended, or
//   - it was sent SIGKILL and the host's kernel shows no thread of it that could run again, or
//   - both: QEMU is in a state that only a command of its monitor ends (nobody else has that), and every
//     thread of it is stopped by SIGSTOP. Either would do by itself; so it takes two mistakes, of two
//     programs, before it runs again.
// docs/threat-model.md, "What stopped means".
class QemuRun final {
 public:
  using Emit = std::function<void(core::Event)>;
  struct Context {
    boost::asio::io_context& loop;
    pool::AreaPool& pool;
    int areas;  // descriptor of its directory, for QEMUs with users of their own; else -1
    const Qemu& qemu;
    const GuestPlan& configured;           // of its guest: what a run that is launched now is started with
    const std::vector<std::string>& apps;  // names of the applications, under the core's ids
    const Limits& limits;
    const DumpStore& dumps;
    const std::string& cgroups;  // below which each QEMU has one of its own; empty: they have none
    // A dump's files may take the disk long: nobody is launched later for it.
    Worker& starts;
    Worker& dump_files;
    Emit emit;                                      // delivers later, in order
    std::function<void(core::GuestRun)> available;  // sockets and ports can be used from now on
    std::function<void(core::GuestRun)> gone;       // and from now on no more; once
  };

  // definition: of a run that is adopted, what it was started with; of one that is launched, what is
  // configured.
  QemuRun(Context context, core::GuestRun run, RunDefinition definition, GuestFiles files, Marker marker);
  ~QemuRun();
  QemuRun(const QemuRun&) = delete;
  QemuRun& operator=(const QemuRun&) = delete;

  // `processes` are those of this run directory: what an earlier run of the guest left is ended first.
  void launch(const std::vector<FoundProcess>& processes);
  // Finds the process of this very run among these and takes it over: GuestAdopted, or GuestExited if there
  // is none or it could not be managed and was ended.
  void adopt(const std::vector<FoundProcess>& processes);
  // The same for a run that is to be discarded next: its monitor is not asked for anything.
  void adopt_stopped(const std::vector<FoundProcess>& processes);
  void fence();
  void probe();
  void plug(std::span<const core::AreaId> areas);
  void unplug(std::span<const core::AreaId> areas);
  void dump();
  void plug_vcpus(core::AppId app, std::uint32_t count);
  void unplug_vcpus(core::AppId app);
  void discard();
  void look();  // at what is plugged into it, if that makes sense now: GuestSeen

  [[nodiscard]] core::GuestRun id() const { return run_; }
  [[nodiscard]] const GuestFiles& files() const { return files_; }
  [[nodiscard]] const RunDefinition& definition() const { return definition_; }
  [[nodiscard]] const ForwardedPorts& ports() const { return ports_; }
  [[nodiscard]] pid_t pid() const { return process_ ? process_->pid() : 0; }
  // A process that may use memory is there, or may be in a moment.
  [[nodiscard]] bool has_process() const { return beginning_ || (process_ && !process_->how_it_ended()); }
  // Something that a takeover waits for is under way.
  [[nodiscard]] bool busy() const { return fence_asked_ || (plugger_ && plugger_->busy()); }
  // Its process and files are gone and nothing more will be said.
  [[nodiscard]] bool over() const { return phase_ == Phase::gone; }

  Result<void> signal(int number);  // drills

 private:
  enum class Phase {
    starting,  // launched or being adopted; no working monitor yet
    running,
    stopped,  // verified; its process may still be there
    gone,
  };
  // Which of the three the one dump of a run is at: its file is made, its memory written, its name given.
  enum class Dumping { unasked, file, memory, name, done };
  struct Opening;  // answers collected while the monitor is opened

  // launch and adopt
  struct Begun {
    pid_t pid = 0;
    std::string image_stamp;
    std::optional<QemuCgroup> cgroup;
  };
  void begin_process();
  void say_that_it_takes_long(Duration after);
  void begun(Result<Begun> process);
  [[nodiscard]] bool find_process(const std::vector<FoundProcess>& processes);
  [[nodiscard]] bool take_process(pid_t pid);
  void watch_process();
  bool end_leftover(const std::vector<FoundProcess>& processes);
  void after_leftover();
  void open_monitor(Duration limit);
  void ask_for_state();
  void opened(const Opening& opening);
  void report_adopted(const Opening& opening);
  [[nodiscard]] core::event::GuestAdopted as_started() const;
  // An application's number in the names of this run's vCPUs, and back.
  [[nodiscard]] core::AppId number_here(core::AppId app) const;
  [[nodiscard]] std::optional<core::AppId> number_of_now(core::AppId here) const;
  void emit_vcpus(core::Event event);
  void emit_seen(core::event::GuestSeen seen);
  [[nodiscard]] bool can_be_looked_at() const;
  void number_new_applications();
  void fail_start(const std::string& why);
  void not_answering();  // it lives, and that is all that is known

  // what QEMU says by itself
  void on_event(const QmpEvent& event);
  void on_shutdown(const QmpEvent& event);
  void check_unasked_stop();
  void tell_panic();
  void on_monitor_lost(const std::string& why);
  void on_process_end(const std::string& how);

  // ends
  [[nodiscard]] bool qemu_is_stopped() const;
  void fence_by_monitor();
  void fence_by_signal(const std::string& state);
  void fence_by_kill(const std::string& because);
  void woke(const std::string& event);
  void end_by_ourselves(const std::string& why);
  void end_after_its_words(const std::string& why);  // its monitor is believed to answer
  [[nodiscard]] bool begin_own_end(const std::string& why);
  void kill_for_own_reason();
  // What its console has goes to console_; then `done`, whether it could be read or not, unless the monitor
  // is closed meanwhile.
  void ask_console(std::function<void()> done);
  void stopped(const std::string& how);
  [[nodiscard]] bool may_be_dumped() const;
  void limit_dump();
  void dump_done(const std::string& file, const std::string& why_not);
  void abandon_dump();
  void dump_begun(Result<DumpPart> part);
  void write_dump();
  void on_dump_completed(const QmpEvent& event);
  void end_dump(const std::string& failed);
  void hold_again();
  void finish_discard();
  void allow_memory_for(std::span<const core::AreaId> areas) const;
  void answer_probe(bool answered, const std::string& text, const std::string& monitor);
  void emit(core::Event event) { context_.emit(std::move(event)); }
  [[nodiscard]] std::string with_log(const std::string& how) const;

  Context context_;
  core::GuestRun run_;
  RunDefinition definition_;
  const GuestPlan& plan_;  // of it
  GuestFiles files_;
  Marker marker_;
  Phase phase_ = Phase::starting;
  std::optional<HostUser> user_;  // of its QEMU, if that is not the daemon's
  std::unique_ptr<QemuProcess> process_;
  std::optional<QemuCgroup> cgroup_;  // of it
  std::unique_ptr<QemuProcess> leftover_;
  std::shared_ptr<QmpClient> monitor_;
  std::unique_ptr<AreaPlugger> plugger_;
  std::unique_ptr<VcpuPlugger> vcpus_;
  std::unique_ptr<Inspector> inspector_;
  ForwardedPorts ports_;
  boost::asio::steady_timer start_limit_;
  boost::asio::steady_timer lost_limit_;
  boost::asio::steady_timer dump_limit_;
  bool launched_here_ = false;  // else adopted
  bool beginning_ = false;      // its process is being started, in a worker thread
  bool available_ = false;
  bool early_event_ = false;  // something happened while the monitor was being opened
  bool panicked_ = false;     // said so, or about to be ended for another stop of its own
  bool fence_asked_ = false;
  bool discard_asked_ = false;
  bool may_suspend_ = false;  // it was launched by an earlier version, which let its guest do so
  std::string own_reason_;    // why we ended it without being asked
  std::string stopped_how_;
  std::string console_;  // last words that no event has told yet
  Dumping dumping_ = Dumping::unasked;
  std::filesystem::path dump_part_;
  UniqueFd dump_file_;  // it, until QEMU has it
  VcpuProgress last_progress_;
  std::chrono::steady_clock::time_point last_progress_at_{};
  std::shared_ptr<QemuRun*> self_;  // posted and timed calls reach this object only while it lives
};

}  // namespace understudy::qemu

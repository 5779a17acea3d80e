// Launch, adoption, and what QEMU says by itself. The ends of a run are in qemu_run_end.cpp.
#include "qemu/qemu_run.hpp"

#include "base/check.hpp"
#include "base/units.hpp"
#include "qemu/console.hpp"
#include "qemu/launch.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::qemu {

namespace json = boost::json;
using namespace core::event;

struct QemuRun::Opening {
  Result<RunStatus> status = failure("query-status: no answer");
  Result<std::vector<PluggedArea>> devices = failure("query-memory-devices: no answer");
  std::vector<VcpuPlace> vcpus;  // what cannot be read is asked again before anything is done
  Result<std::vector<core::AreaId>> backends = failure("qom-list: no answer");
};

namespace {

// It is started without one rather than not at all; its log says so.
std::optional<QemuCgroup> cgroup_for(Launch& launch, const std::string& cgroups, const GuestPlan& plan,
                                     const Marker& marker) {
  if (cgroups.empty()) return std::nullopt;
  auto made = QemuCgroup::make(cgroups, marker, most_memory_of(plan));
  if (!made) {
    launch.spec.first_words =
        "this QEMU has the daemon's control group, and so no limit of memory: " + made.error().message + "\n";
    return std::nullopt;
  }
  launch.spec.cgroup = made->directory_fd();
  launch.spec.cgroup_processes = made->processes_fd();
  return std::move(*made);
}

}  // namespace

QemuRun::QemuRun(Context context, core::GuestRun run, RunDefinition definition, GuestFiles files,
                 Marker marker)
    : context_(std::move(context)),
      run_(run),
      definition_(std::move(definition)),
      plan_(definition_.plan),
      files_(std::move(files)),
      marker_(std::move(marker)),
      user_(plan_.user),
      start_limit_(context_.loop),
      lost_limit_(context_.loop),
      dump_limit_(context_.loop),
      self_(std::make_shared<QemuRun*>(this)) {}

QemuRun::~QemuRun() {
  *self_ = nullptr;
  if (monitor_) monitor_->close();
}

// ---- launch ----
// 1. a QEMU that an earlier run of this guest left is ended (there should be none)
// 2. in a worker thread: directory, listening sockets, what the run is started with, process, pid file
// 3. monitor: greeting, capabilities, state, forwarded ports
// 4. GuestLaunched
// A failure of any step ends the process, waits until it is gone and then says LaunchFailed; a fence or a
// discard that comes meanwhile takes over and gives its own answer.
void QemuRun::launch(const std::vector<FoundProcess>& processes) {
  launched_here_ = true;
  if (!end_leftover(processes)) after_leftover();
}

// By a look at every process, so that not even a QEMU whose pid was never written down runs beside this one.
bool QemuRun::end_leftover(const std::vector<FoundProcess>& processes) {
  for (const FoundProcess& found : processes) {
    if (found.marker.guest != marker_.guest) continue;
    auto process =
        QemuProcess::adopt(context_.loop, found.pid, found.marker, [this, processes](const std::string&) {
          leftover_.reset();
          if (phase_ == Phase::starting && !end_leftover(processes)) after_leftover();
        });
    if (!process) continue;  // ended meanwhile
    leftover_ = std::move(*process);
    leftover_->kill([](const std::string&) {});
    return true;
  }
  return false;
}

void QemuRun::after_leftover() {
  if (discard_asked_) return finish_discard();
  if (fence_asked_) return stopped("it was not started");
  begin_process();
}

void QemuRun::begin_process() {
  beginning_ = true;
  say_that_it_takes_long(context_.limits.launch);
  const auto begin = [qemu = context_.qemu, definition = definition_, marker = marker_, files = files_,
                      areas = context_.areas, cgroups = context_.cgroups]() mutable -> Result<Begun> {
    definition.image_stamp = image_stamp(definition.plan.image);
    auto launch = make_launch(qemu, definition.plan, marker, files, areas);
    if (!launch) return failure(launch.error().message);
    // Before the process is there: a daemon that dies now leaves no run of which nothing is known.
    if (auto ok = write_definition(files.definition, definition); !ok) return failure(ok.error().message);
    auto cgroup = cgroup_for(*launch, cgroups, definition.plan, marker);
    const auto pid = spawn_process(launch->spec);
    if (!pid && cgroup) cgroup->remove();
    if (!pid) return failure(pid.error().message);
    (void)files.write_process(*pid, marker.run);  // a later daemon looks at every process, too
    return Begun{*pid, definition.image_stamp, std::move(cgroup)};
  };
  context_.starts.run(begin, [weak = std::weak_ptr(self_)](Result<Begun> process) {
    if (const auto self = weak.lock()) (*self)->begun(std::move(process));
  });
}

void QemuRun::say_that_it_takes_long(Duration after) {
  start_limit_.expires_after(after);
  start_limit_.async_wait([weak = std::weak_ptr(self_)](auto error) {
    const auto self = weak.lock();
    if (error || !self || !(*self)->beginning_) return;
    (*self)->say_that_it_takes_long((*self)->context_.limits.kill_said_again);
    (*self)->emit(StopDelayed{(*self)->run_,
                              "its QEMU is still being started: the disk of the run directory, of QEMU or of "
                              "the image does not answer"});
  });
}

void QemuRun::begun(Result<Begun> process) {
  beginning_ = false;
  start_limit_.cancel();
  auto taken = process ? QemuProcess::take_child(context_.loop, process->pid,
                                                 [this](const std::string& how) { on_process_end(how); })
                       : failure(process.error().message);
  if (!taken) return discard_asked_ ? finish_discard() : fail_start(taken.error().message);
  definition_.image_stamp = process->image_stamp;
  cgroup_ = std::move(process->cgroup);
  process_ = std::move(*taken);
  watch_process();
  if (discard_asked_) return process_->kill([](const std::string&) {});
  if (fence_asked_) return fence_by_kill("it was being started");
  open_monitor(context_.limits.launch);
}

void QemuRun::watch_process() {
  const Limits& limits = context_.limits;
  process_->tell_of_delay(limits.kill_said, limits.kill_said_again, [this](const std::string& evidence) {
    emit(StopDelayed{run_, evidence});
  });
}

void QemuRun::open_monitor(Duration limit) {
  start_limit_.expires_after(limit);
  start_limit_.async_wait([weak = std::weak_ptr(self_), limit](auto error) {
    const auto self = weak.lock();
    if (error || !self || (*self)->phase_ != Phase::starting) return;
    if (!(*self)->launched_here_) return (*self)->not_answering();
    (*self)->fail_start("QEMU's monitor did not answer within " + format_duration(limit));
  });
  QmpClient::Handlers handlers;
  handlers.ready = [this] { ask_for_state(); };
  handlers.event = [this](const QmpEvent& event) { on_event(event); };
  handlers.lost = [this](const std::string& why) { on_monitor_lost(why); };
  auto monitor = QmpClient::connect(context_.loop, files_.qmp_socket, std::move(handlers));
  if (!monitor) return fail_start(monitor.error().message);
  monitor_ = std::move(*monitor);
}

void QemuRun::ask_for_state() {
  // Pipelined; the last answer has all the others before it. An unanswered one is the start limit's business.
  const auto opening = std::make_shared<Opening>();
  // Whoever lives already is waited for as long as the core waits.
  const Duration limit = launched_here_ ? context_.limits.adopt + context_.limits.launch
                                        : Duration(std::chrono::hours(24 * 365));
  monitor_->execute("query-status", {}, limit, [opening](const QmpReply& reply) {
    if (reply) opening->status = read_status(*reply);
  });
  monitor_->execute("human-monitor-command", {{"command-line", "info usernet"}}, limit,
                    [this](const QmpReply& reply) {
                      if (reply && reply->is_string()) ports_ = parse_usernet(reply->get_string());
                    });
  monitor_->execute("query-kvm", {}, limit, [this](const QmpReply& reply) {
    if (const auto kvm = reply ? read_kvm(*reply) : std::nullopt)
      definition_.accelerator = *kvm ? Accelerator::kvm : Accelerator::tcg;
  });
  monitor_->execute("qom-list", {{"path", "/objects"}}, limit, [opening](const QmpReply& reply) {
    if (reply) opening->backends = read_backends(*reply);
  });
  if (plan_.more_vcpus > 0) {
    monitor_->execute("query-hotpluggable-cpus", {}, limit, [opening](const QmpReply& reply) {
      if (!reply) return;
      if (auto places = read_hotpluggable_cpus(*reply)) opening->vcpus = std::move(*places);
    });
  }
  monitor_->execute("query-memory-devices", {}, limit, [this, opening](const QmpReply& reply) {
    if (reply) opening->devices = read_memory_devices(*reply);
    if (phase_ == Phase::starting && own_reason_.empty()) opened(*opening);
  });
}

void QemuRun::opened(const Opening& opening) {
  if (!opening.status) return fail_start(opening.status.error().message);
  if (!opening.devices) return fail_start(opening.devices.error().message);
  if (!opening.backends) return fail_start(opening.backends.error().message);
  std::vector<std::uint16_t> wanted = plan_.ports;
  wanted.push_back(plan_.closed_port);
  for (const std::uint16_t port : wanted) {
    // One that was started has what it needs; one that lives is not ended for a port that it has not.
    if (launched_here_ && ports_.count(port) == 0)
      return fail_start("QEMU forwards no host port to the guest's port " + std::to_string(port));
  }
  start_limit_.cancel();
  phase_ = Phase::running;
  number_new_applications();
  plugger_ = std::make_unique<AreaPlugger>(
      context_.loop, monitor_, context_.pool, run_, context_.limits, user_,
      [this](core::Event event) {
        if (phase_ == Phase::running) emit(std::move(event));  // the end of the run has answered it otherwise
      },
      [this](const std::string& why) { end_by_ourselves("its monitor failed: " + why); });
  plugger_->adopt(*opening.devices, *opening.backends);
  vcpus_ = std::make_unique<VcpuPlugger>(context_.loop, monitor_, run_, context_.limits,
                                         VcpuPlugger::unplugs_safely(definition_.accelerator),
                                         [this](core::Event event) { emit_vcpus(std::move(event)); });
  vcpus_->adopt(opening.vcpus);
  inspector_ = std::make_unique<Inspector>(
      context_.loop, monitor_, run_, context_.limits, plan_.more_vcpus > 0,
      [this] { return can_be_looked_at(); }, [this](GuestSeen seen) { emit_seen(std::move(seen)); });
  if (!std::exchange(available_, true)) context_.available(run_);
  if (fence_asked_) return fence_by_monitor();
  if (launched_here_) {
    emit(GuestLaunched{run_, definition_.image_stamp});
  } else {
    report_adopted(opening);
  }
  // It may have stopped by itself before anybody listened. That an adopted one is merely paused is for the
  // core to judge: its operator may have done that.
  const bool paused = !launched_here_ && opening.status->name == "paused";
  if (early_event_ || (!opening.status->running && !paused)) check_unasked_stop();
}

void QemuRun::report_adopted(const Opening& opening) {
  GuestAdopted adopted = as_started();
  adopted.executing = opening.status->running;
  for (const PluggedArea& device : *opening.devices)
    adopted.areas.push_back({device.area, device.guest_address});
  for (core::event::PluggedVcpus vcpus : vcpus_->plugged()) {
    const auto app = number_of_now(vcpus.app);
    if (app) adopted.vcpus.push_back({*app, vcpus.count});
  }
  emit(std::move(adopted));
}

// What is known of it whether its monitor answers or not.
GuestAdopted QemuRun::as_started() const {
  GuestAdopted adopted{run_, false, {}};
  adopted.definition = core_definition(plan_);
  adopted.image = definition_.image_stamp;
  const RunDefinition next{
      0, context_.configured, context_.qemu.accelerator, image_stamp(context_.configured.image), {}};
  adopted.outdated = differences(definition_, next);
  const auto user_text = [](const std::optional<HostUser>& user) {
    return user ? "uid " + std::to_string(user->uid) : std::string("the daemon's");
  };
  if (user_text(user_) != user_text(context_.configured.user))
    adopted.outdated.push_back({"user", user_text(user_), user_text(context_.configured.user)});
  for (std::uint32_t app = 0; app < context_.apps.size(); ++app) {
    const std::string& name = context_.apps[app];
    const auto here = plan_.app_ports.find(name);
    const bool reached = here != plan_.app_ports.end() && (ports_.empty() || ports_.count(here->second) != 0);
    if (context_.configured.app_ports.count(name) != 0 && !reached) adopted.no_port_for.push_back({app});
  }
  return adopted;
}

core::AppId QemuRun::number_here(core::AppId app) const {
  const auto& here = definition_.apps;
  const auto found = std::find(here.begin(), here.end(), context_.apps.at(app.value));
  return {static_cast<std::uint32_t>(found - here.begin())};
}

std::optional<core::AppId> QemuRun::number_of_now(core::AppId here) const {
  if (here.value >= definition_.apps.size()) return std::nullopt;
  const auto& now = context_.apps;
  const auto found = std::find(now.begin(), now.end(), definition_.apps[here.value]);
  if (found == now.end()) return std::nullopt;
  return core::AppId{static_cast<std::uint32_t>(found - now.begin())};
}

void QemuRun::emit_vcpus(core::Event event) {
  if (phase_ != Phase::running) return;
  core::AppId* app = nullptr;
  if (auto* plugged = std::get_if<VcpusPlugged>(&event)) app = &plugged->app;
  if (auto* unplugged = std::get_if<VcpusUnplugged>(&event)) app = &unplugged->app;
  const auto now = app != nullptr ? number_of_now(*app) : std::nullopt;
  if (!now) return;
  *app = *now;
  emit(std::move(event));
}

bool QemuRun::can_be_looked_at() const {
  return phase_ == Phase::running && !fence_asked_ && !discard_asked_ && !panicked_ && own_reason_.empty() &&
         !plugger_->busy();
}

void QemuRun::look() {
  if (inspector_) inspector_->look();
}

// An application that is in no file any more is nobody's to compare with.
void QemuRun::emit_seen(GuestSeen seen) {
  if (seen.vcpus) {
    std::vector<core::event::PluggedVcpus> known;
    for (const core::event::PluggedVcpus& vcpus : *seen.vcpus) {
      if (const auto now = number_of_now(vcpus.app)) known.push_back({*now, vcpus.count});
    }
    seen.vcpus = std::move(known);
  }
  emit(std::move(seen));
}

// Applications that are new since it was started get numbers behind those that are known.
void QemuRun::number_new_applications() {
  auto& here = definition_.apps;
  const std::size_t before = here.size();
  for (const std::string& name : context_.apps) {
    if (std::find(here.begin(), here.end(), name) == here.end()) here.push_back(name);
  }
  if (here.size() == before || launched_here_) return;
  context_.starts.run(
      [file = files_.definition, definition = definition_] { return write_definition(file, definition); },
      [](const Result<void>&) {});
}

void QemuRun::fail_start(const std::string& why) {
  if (process_) return end_by_ourselves(why);
  stopped(why);
}

// ---- adoption ----
// 1. the process, which the hypervisor has looked for; proved by its marker, run included
// 2. the monitor as at a launch, with what is plugged
// 3. GuestAdopted; or GuestExited if there is no process
// A monitor that does not answer within its limit is no reason to end anybody (its QEMU may have been stopped
// by its operator): GuestAdopted says that it does not answer, its agent may be heard of meanwhile, and
// GuestAdopted comes again when the monitor answers.
void QemuRun::not_answering() {
  if (fence_asked_) return fence_by_kill("its monitor does not answer");
  GuestAdopted adopted = as_started();
  adopted.answers = false;
  if (!std::exchange(available_, true)) context_.available(run_);
  emit(std::move(adopted));
}

void QemuRun::adopt(const std::vector<FoundProcess>& processes) {
  if (!find_process(processes)) return stopped("its process ended while no daemon watched it");
  // One that is stopped itself will not answer.
  open_monitor(qemu_is_stopped() ? Duration{} : context_.limits.adopt);
}

void QemuRun::adopt_stopped(const std::vector<FoundProcess>& processes) {
  (void)find_process(processes);
}

bool QemuRun::find_process(const std::vector<FoundProcess>& processes) {
  return std::any_of(processes.begin(), processes.end(), [this](const FoundProcess& found) {
    return found.marker == marker_ && take_process(found.pid);
  });
}

bool QemuRun::take_process(pid_t pid) {
  auto process = QemuProcess::adopt(context_.loop, pid, marker_,
                                    [this](const std::string& how) { on_process_end(how); });
  if (!process) return false;
  process_ = std::move(*process);
  cgroup_ = QemuCgroup::of(pid, marker_);
  // As it was started, which another configuration may have said.
  const auto ids = ids_of(pid);
  user_ = ids && ids->uid != ::geteuid() ? std::optional(HostUser{ids->uid, ids->gid, {}}) : std::nullopt;
  may_suspend_ = offers_suspend(arguments_of(pid));
  watch_process();
  return true;
}

// ---- what QEMU says by itself ----
void QemuRun::on_event(const QmpEvent& event) {
  if (event.name == "DUMP_COMPLETED") return on_dump_completed(event);
  if (phase_ == Phase::starting) early_event_ = true;  // looked into when the monitor is open
  const bool wakes = event.name == "RESUME" || event.name == "WAKEUP" || event.name == "SUSPEND" ||
                     event.name == "SUSPEND_DISK" || event.name == "RESET";
  if (wakes && (fence_asked_ || phase_ == Phase::stopped)) return woke(event.name);
  if (phase_ != Phase::running) return;
  if (event.name == "SUSPEND" || event.name == "SUSPEND_DISK") {
    end_by_ourselves("its OS suspended itself, which no guest of ours is offered");
  } else if (event.name == "WAKEUP") {
    end_by_ourselves("its OS woke from a suspension, which no guest of ours is offered");
  } else if (event.name == "POWERDOWN") {
    // Its power button was pressed, by nobody of us. What its OS makes of that is a SHUTDOWN, or nothing.
  } else if (event.name == "GUEST_PANICKED") {
    if (!std::exchange(panicked_, true)) tell_panic();
  } else if (event.name == "SHUTDOWN" || event.name == "RESET") {
    on_shutdown(event);
  } else if (event.name == "STOP") {
    check_unasked_stop();
  } else if (plugger_) {
    plugger_->on_event(event);
    vcpus_->on_event(event);
    inspector_->on_event(event);
  }
}

// The guest's OS powered off or restarted by itself. QEMU keeps it paused, but nothing in it can be gone on
// with, and it is no panic: it is ended, and its end reported under its true name.
void QemuRun::on_shutdown(const QmpEvent& event) {
  const json::value* reason = event.data.if_contains("reason");
  const std::string why = reason != nullptr && reason->is_string() ? std::string(reason->get_string()) : "";
  if (fence_asked_ || discard_asked_ || panicked_) return;
  if (why.starts_with("host-")) return;  // QEMU itself is being ended from outside; its end is seen
  if (why == "guest-panic") {
    panicked_ = true;
    return tell_panic();
  }
  panicked_ = true;
  if (why == "guest-reset" || event.name == "RESET") return end_after_its_words("its OS restarted itself");
  end_after_its_words("its OS powered itself off");
}

// QEMU stopped the vCPUs and we did not ask for it. A panic or a shutdown says so itself, before or after.
void QemuRun::check_unasked_stop() {
  if (fence_asked_ || discard_asked_ || panicked_ || phase_ != Phase::running) return;
  monitor_->execute("query-status", {}, context_.limits.plug, [this](const QmpReply& reply) {
    if (!reply || fence_asked_ || discard_asked_ || panicked_ || phase_ != Phase::running) return;
    const auto status = read_status(*reply);
    if (!status) return end_by_ourselves(status.error().message);
    if (status->running) return;
    panicked_ = true;
    if (status->name == "guest-panicked") return tell_panic();
    end_after_its_words("QEMU stopped it by itself (" + status->name + ")");
  });
}

// The kernel has written its words by then: that is what a panic begins with.
void QemuRun::tell_panic() {
  ask_console([this] {
    if (phase_ == Phase::running) emit(GuestPanicked{run_, std::exchange(console_, {})});
  });
}

void QemuRun::ask_console(std::function<void()> done) {
  monitor_->execute("ringbuf-read", console_question(), context_.limits.console,
                    [this, done = std::move(done)](const QmpReply& reply) {
                      if (reply) console_ = last_words(read_console(*reply));
                      done();
                    });
}

void QemuRun::on_monitor_lost(const std::string& why) {
  end_dump("its monitor's connection was lost (" + why + ")");
  if (phase_ == Phase::stopped || phase_ == Phase::gone || !has_process()) return;
  if (fence_asked_) return fence_by_kill("its monitor is gone");
  // Almost always QEMU is just dying, and its process says how in a moment.
  lost_limit_.expires_after(context_.limits.monitor_lost);
  lost_limit_.async_wait([weak = std::weak_ptr(self_), why](auto error) {
    const auto self = weak.lock();
    if (error || !self) return;
    (*self)->end_by_ourselves("its monitor's connection was lost (" + why + ")");
  });
}

void QemuRun::on_process_end(const std::string& how) {
  if (monitor_) monitor_->close();
  end_dump("its QEMU ended meanwhile: " + how);
  const std::string limit = cgroup_ ? cgroup_->ended_by_limit() : "";
  if (cgroup_) cgroup_->remove();
  if (phase_ == Phase::starting || phase_ == Phase::running) {
    const bool asked = fence_asked_ || discard_asked_;
    const std::string why = limit.empty() ? how : how + "; " + limit;
    stopped(own_reason_.empty() ? (asked ? why : with_log(why)) : own_reason_ + "; ended by us: " + why);
  }
  if (discard_asked_) finish_discard();
}

Result<void> QemuRun::signal(int number) {
  if (!process_ || !has_process()) return failure("guest " + plan_.name + " has no running QEMU");
  return process_->signal(number);
}

}  // namespace understudy::qemu

// How a run is plugged into, probed, fenced and discarded.
#include "base/process_network.hpp"
#include "base/units.hpp"
#include "qemu/kernel_probe.hpp"
#include "qemu/qemu_run.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::qemu {

using namespace core::event;

void QemuRun::plug(std::span<const core::AreaId> areas) {
  if (phase_ == Phase::running && own_reason_.empty() && monitor_->ready()) {
    allow_memory_for(areas);
    return plugger_->plug(areas);
  }
  if (phase_ == Phase::running) return;  // it is being ended; that answers
  const char* why = phase_ == Phase::starting ? "the guest is still being launched" : "the guest is stopped";
  for (const core::AreaId area : areas) emit(PlugFailed{run_, area, why});
}

// Whoever touches a page of an area first is charged for it, as long as the page exists, wherever the area is
// by then. Those that are there already are somebody else's.
void QemuRun::allow_memory_for(std::span<const core::AreaId> areas) const {
  if (!cgroup_) return;
  Bytes missing = 0;
  for (const core::AreaId area : areas) missing += context_.pool.missing_bytes(area);
  const Bytes whole_pool = context_.pool.area_count() * context_.pool.area_bytes();
  cgroup_->allow(missing, most_memory_of(plan_) + whole_pool);
}

void QemuRun::unplug(std::span<const core::AreaId> areas) {
  if (phase_ == Phase::running && own_reason_.empty() && monitor_->ready()) return plugger_->unplug(areas);
  if (phase_ == Phase::running) return;  // it is being ended; that answers
  const char* why = phase_ == Phase::starting ? "the guest is still being launched" : "the guest is stopped";
  for (const core::AreaId area : areas) emit(UnplugFailed{run_, area, why});
}

void QemuRun::plug_vcpus(core::AppId app, std::uint32_t count) {
  if (phase_ == Phase::running && own_reason_.empty() && monitor_->ready())
    return vcpus_->plug(number_here(app), count);
  if (phase_ == Phase::running) return;  // it is being ended; that answers
  const char* why = phase_ == Phase::starting ? "the guest is still being launched" : "the guest is stopped";
  emit(VcpusPlugged{run_, app, 0, why});
}

void QemuRun::unplug_vcpus(core::AppId app) {
  if (phase_ == Phase::running && own_reason_.empty() && monitor_->ready())
    return vcpus_->unplug(number_here(app));
  if (phase_ == Phase::running) return;  // it is being ended; that answers
  emit(VcpusUnplugged{run_, app, 0, "the guest does not run"});
}

// ---- fence: stop, and know it ----
// 1. stopped already: said again
// 2. no monitor yet, a QEMU that does not run itself (state T), or one whose guest may suspend itself: 5
// 3. by the monitor, which keeps the guest for a look at it: query-status if it said it panicked, else
//    stop + query-status, both sent at once; a state that only we can end within the limit: 4, else 5
// 4. SIGSTOP; every thread of it is seen to be stopped within the limit: fenced, else 5
// 5. SIGKILL through its pidfd, until no thread of it can run any more: fenced
void QemuRun::fence() {
  if (phase_ == Phase::stopped || phase_ == Phase::gone) return emit(GuestFenced{run_, stopped_how_});
  if (std::exchange(fence_asked_, true)) return;
  if (!process_) {
    if (!leftover_ && !beginning_) stopped("it was not started");
    return;
  }
  if (qemu_is_stopped()) return fence_by_kill("QEMU itself is stopped (state T)");
  if (phase_ == Phase::starting && !launched_here_ && monitor_ && own_reason_.empty()) {
    // Found a moment ago: the monitor, which keeps the guest for a look at it, has the time of a fence to
    // open.
    start_limit_.expires_after(context_.limits.fence_monitor);
    return start_limit_.async_wait([weak = std::weak_ptr(self_)](auto error) {
      const auto self = weak.lock();
      if (!error && self && (*self)->phase_ == Phase::starting) (*self)->not_answering();
    });
  }
  if (phase_ != Phase::running || !monitor_->ready() || !own_reason_.empty())
    return fence_by_kill("its monitor does not answer");
  if (may_suspend_)
    return fence_by_kill("it was launched by an earlier version, with a guest that may suspend");
  fence_by_monitor();
}

bool QemuRun::qemu_is_stopped() const {
  const auto state = process_ ? process_stat(process_->pid()) : std::nullopt;
  return state && (state->state == 'T' || state->state == 't');
}

void QemuRun::fence_by_monitor() {
  const Duration limit = context_.limits.fence_monitor;
  if (!panicked_) {
    monitor_->execute("stop", {}, limit, [](const QmpReply&) {});
    ask_console([] {});  // before the answer that is waited for
  }
  monitor_->execute("query-status", {}, limit, [this, asked_to_stop = !panicked_](const QmpReply& reply) {
    if (phase_ != Phase::running) return;
    if (!reply) return fence_by_kill(reply.error().message);
    const auto status = read_status(*reply);
    if (!status) return fence_by_kill(status.error().message);
    if (status->only_a_command_ends_it()) return fence_by_signal(status->name);
    if (!status->running) return fence_by_kill("QEMU says \"" + status->name + "\", which is no stop");
    if (asked_to_stop) return fence_by_kill("QEMU was asked to stop it, but it still runs");
    panicked_ = false;  // it is not what its event said: stop it after all
    fence_by_monitor();
  });
}

void QemuRun::fence_by_signal(const std::string& state) {
  process_->stop(context_.limits.fence_signal, [this, state](const Result<void>& held) {
    if (phase_ != Phase::running || !own_reason_.empty()) return;
    if (!held) return fence_by_kill(held.error().message);
    stopped("its vCPUs are stopped (QEMU says \"" + state + "\"), and every thread of QEMU, too");
  });
}

void QemuRun::fence_by_kill(const std::string& because) {
  if (monitor_) monitor_->close();
  process_->kill([this, because](const std::string& how) {
    if (phase_ == Phase::starting || phase_ == Phase::running) stopped(how + " (" + because + ")");
  });
}

// What was to be stopped, or was, says that it moves.
void QemuRun::woke(const std::string& event) {
  const std::string why = "QEMU said " + event + " of a guest that is to be stopped";
  end_dump(why);
  if (phase_ == Phase::running) return fence_by_kill(why);
  if (phase_ == Phase::stopped && has_process()) process_->kill([](const std::string&) {});
}

// The guest cannot be managed, or its OS went away: kept alive it could only do harm.
void QemuRun::end_by_ourselves(const std::string& why) {
  if (begin_own_end(why)) kill_for_own_reason();
}

void QemuRun::end_after_its_words(const std::string& why) {
  if (begin_own_end(why)) ask_console([this] { kill_for_own_reason(); });
}

bool QemuRun::begin_own_end(const std::string& why) {
  if (phase_ == Phase::stopped || phase_ == Phase::gone || !process_ || !own_reason_.empty()) return false;
  own_reason_ = why;
  start_limit_.cancel();
  return true;
}

void QemuRun::kill_for_own_reason() {
  if (monitor_) monitor_->close();
  process_->kill([this](const std::string& how) {
    // LaunchFailed says that no process is left: that waits for the end of the process.
    if (phase_ == Phase::running) stopped(own_reason_ + "; ended by us: " + how);
  });
}

// The one place where a run becomes stopped.
void QemuRun::stopped(const std::string& how) {
  const bool was_starting = phase_ == Phase::starting;
  phase_ = Phase::stopped;
  stopped_how_ = how;
  start_limit_.cancel();
  lost_limit_.cancel();
  if (plugger_) plugger_->end();
  if (vcpus_) vcpus_->end();
  if (inspector_) inspector_->end();
  if (std::exchange(available_, false)) context_.gone(run_);
  // Before anybody hears of it: what hears of it gives them to the next guest.
  if (user_) context_.pool.take_back_all(user_->gid);
  if (fence_asked_) {
    emit(GuestFenced{run_, how, std::exchange(console_, {})});
  } else if (was_starting && launched_here_) {
    if (!discard_asked_) emit(LaunchFailed{run_, how});
  } else if (!discard_asked_) {
    emit(GuestExited{run_, how, std::exchange(console_, {})});
  }
}

// ---- discard ----
// SIGKILL, the end of the process, its files, GuestGone.
void QemuRun::discard() {
  if (phase_ == Phase::gone) return emit(GuestGone{run_});
  if (std::exchange(discard_asked_, true)) return;
  end_dump("the guest is being discarded");
  if (leftover_ || beginning_) return;  // goes on when the leftover is gone, or the process is there
  if (!has_process()) return finish_discard();
  if (monitor_) monitor_->close();
  process_->kill([](const std::string&) {});
}

void QemuRun::finish_discard() {
  if (phase_ == Phase::starting || phase_ == Phase::running) stopped("discarded");
  phase_ = Phase::gone;
  if (cgroup_) cgroup_->remove();
  files_.remove(true);
  emit(GuestGone{run_});
}

// ---- probe ----
// All of it is asked at once. The kernel's answer ends the probe; without one it ends with its limit, and
// whatever else is known by then is the evidence.
void QemuRun::probe() {
  if (phase_ != Phase::running || !has_process()) {
    if (phase_ == Phase::starting && !launched_here_ && has_process())
      return answer_probe(false, "its monitor does not answer, which knows the way to its kernel", "");
    const char* text =
        phase_ == Phase::starting ? "the guest is still being launched" : "the guest is stopped";
    return emit(ProbeAnswer{run_, false, text});
  }
  const auto port = ports_.find(plan_.closed_port);
  if (port == ports_.end()) return answer_probe(false, "QEMU forwards no port for a probe", "");
  const auto network = ProcessNetwork::of(process_->pid());
  if (!network) return answer_probe(false, network.error().message, "");
  const auto monitor = std::make_shared<std::string>("its monitor does not answer");
  if (monitor_->ready()) {
    monitor_->execute("query-status", {}, context_.limits.probe, [monitor](const QmpReply& reply) {
      if (!reply) return;
      const auto status = read_status(*reply);
      if (status) *monitor = "its monitor says \"" + status->name + "\"";
    });
  }
  probe_kernel(context_.loop, *network, port->second, context_.limits.probe,
               [weak = std::weak_ptr(self_), monitor](const KernelAnswer& answer) {
                 if (const auto self = weak.lock())
                   (*self)->answer_probe(answer.answered, answer.text, *monitor);
               });
}

void QemuRun::answer_probe(bool answered, const std::string& text, const std::string& monitor) {
  const auto process = process_ ? process_stat(process_->pid()) : std::nullopt;
  // A QEMU that dies closes its connections too; that is no answer of a kernel.
  if (!process || process->is_over() || !has_process())
    return emit(ProbeAnswer{run_, false, "its QEMU has ended"});
  const VcpuProgress progress = vcpu_progress(process_->pid());
  const auto now = std::chrono::steady_clock::now();
  std::string evidence = text;
  evidence += process->state == 'T' || process->state == 't'
                  ? "; QEMU is stopped (state T)"
                  : fmt::format("; QEMU's state is {}", process->state);
  if (!monitor.empty() && !answered) evidence += "; " + monitor;
  if (last_progress_at_ != std::chrono::steady_clock::time_point{}) {
    evidence +=
        fmt::format("; its vCPUs used {} ms of CPU and were switched {} times in the last {} ms",
                    (progress.cpu_ns - std::min(progress.cpu_ns, last_progress_.cpu_ns)) / 1'000'000,
                    progress.switches - std::min(progress.switches, last_progress_.switches),
                    std::chrono::duration_cast<std::chrono::milliseconds>(now - last_progress_at_).count());
  }
  last_progress_ = progress;
  last_progress_at_ = now;
  emit(ProbeAnswer{run_, answered, evidence});
}

std::string QemuRun::with_log(const std::string& how) const {
  // A warning was not the cause, and what is killed from outside has nothing to say.
  const std::string line = files_.last_log_line();
  const bool telling = line.find("warning:") == std::string::npos && how.find("SIGKILL") == std::string::npos;
  return line.empty() || !telling ? how : how + "; QEMU's last words: " + line;
}

}  // namespace understudy::qemu

#include "qemu/qemu_hypervisor.hpp"

#include "base/check.hpp"

#include <signal.h>

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::qemu {

namespace fs = std::filesystem;
using namespace core::event;

QemuHypervisor::QemuHypervisor(boost::asio::io_context& loop, Settings settings, pool::AreaPool& pool,
                               engine::EventSink sink)
    : loop_(loop),
      settings_(std::move(settings)),
      pool_(pool),
      sink_(std::make_shared<engine::EventSink>(std::move(sink))),
      dumps_(settings_.dumps),
      scan_(loop, settings_.run_dir, settings_.limits.scan),
      dump_files_(loop),
      look_(loop) {
  std::vector<std::string> names;
  for (const GuestPlan& plan : settings_.guests) names.push_back(plan.name);
  dumps_.clear_parts(names);
  if (!settings_.cgroups.empty()) remove_empty_cgroups(settings_.cgroups, settings_.run_dir);
  look_at_next();
}

QemuHypervisor::~QemuHypervisor() = default;

Result<std::unique_ptr<QemuHypervisor>> QemuHypervisor::create(boost::asio::io_context& loop,
                                                               Settings settings, pool::AreaPool& pool,
                                                               engine::EventSink sink) {
  for (const GuestPlan& plan : settings.guests) {
    if (auto files = GuestFiles::at(settings.run_dir, plan.name); !files)
      return failure(files.error().message);
    // It becomes a directory and a part of the marker.
    const bool plain = !plan.name.empty() && plan.name.front() != '.' &&
                       plan.name.find_first_of("/:\n") == std::string::npos;
    if (!plain) return failure("\"" + plan.name + "\" cannot be a guest's name: no '/', ':' or leading '.'");
  }
  std::unique_ptr<QemuHypervisor> made(new QemuHypervisor(loop, std::move(settings), pool, std::move(sink)));
  if (auto ok = made->open_areas(); !ok) return failure(ok.error().message);
  return made;
}

// A QEMU that ended while no daemon watched it has left its areas open to its group.
Result<void> QemuHypervisor::open_areas() {
  std::vector<gid_t> living;
  for (const FoundProcess& found : find_processes(settings_.run_dir)) {
    if (const auto ids = ids_of(found.pid)) living.push_back(ids->gid);
  }
  pool_.take_back_except(living);
  const bool needed = std::any_of(settings_.guests.begin(), settings_.guests.end(),
                                  [](const GuestPlan& plan) { return plan.user.has_value(); });
  if (!needed) return {};
  auto areas = pool_.open_to_users();
  if (!areas) return failure(areas.error().message);
  areas_ = std::move(*areas);
  return {};
}

void QemuHypervisor::post(std::function<void()> call) {
  boost::asio::post(loop_, [weak = std::weak_ptr(sink_), call = std::move(call)] {
    if (const auto alive = weak.lock()) call();
  });
}

void QemuHypervisor::emit(core::Event event) {
  post([this, event = std::move(event)]() mutable { (*sink_)(std::move(event)); });
}

Marker QemuHypervisor::marker(core::GuestRun run) const {
  return {settings_.run_dir, settings_.guests.at(run.guest.value).name, run.run};
}

QemuRun* QemuHypervisor::find(core::GuestRun run) const {
  const auto found = runs_.find(run);
  return found == runs_.end() ? nullptr : found->second.get();
}

std::optional<std::string> QemuHypervisor::process_of_another_run(core::GuestRun run) const {
  for (const auto& [id, other] : runs_) {
    if (id.guest != run.guest || id == run || !other->has_process()) continue;
    const std::string which =
        other->pid() != 0 ? "pid " + std::to_string(other->pid()) : std::string("being started");
    return "the QEMU of its run " + std::to_string(id.run) + " (" + which + ") still exists";
  }
  return std::nullopt;
}

// Runs that are over, and former runs of this guest that have no process any more, make room.
QemuRun& QemuHypervisor::make(core::GuestRun run, RunDefinition definition) {
  std::erase_if(runs_, [run](const auto& each) {
    const QemuRun& other = *each.second;
    return other.over() || (other.id().guest == run.guest && !other.has_process());
  });
  const GuestPlan& plan = settings_.guests.at(run.guest.value);
  auto files = GuestFiles::at(settings_.run_dir, plan.name);
  US_CHECK(files.has_value());  // as at create()
  QemuRun::Context context{loop_,
                           pool_,
                           areas_.get(),
                           settings_.qemu,
                           plan,
                           settings_.apps,
                           settings_.limits,
                           dumps_,
                           settings_.cgroups,
                           starts_.try_emplace(run.guest, loop_).first->second,
                           dump_files_,
                           [this](core::Event event) { emit(std::move(event)); },
                           [this](core::GuestRun which) {
                             post([this, which] {
                               if (listener_.available) listener_.available(which);
                             });
                           },
                           [this](core::GuestRun which) {
                             post([this, which] {
                               if (listener_.gone) listener_.gone(which);
                             });
                           }};
  auto made = std::make_unique<QemuRun>(std::move(context), run, std::move(definition), std::move(*files),
                                        marker(run));
  return *runs_.emplace(run, std::move(made)).first->second;
}

// What was written down when it was launched; what its process tells if that is missing, damaged or of
// another run.
RunDefinition QemuHypervisor::recorded(core::GuestRun run, const std::vector<FoundProcess>& processes) const {
  const GuestPlan& plan = settings_.guests.at(run.guest.value);
  const auto files = GuestFiles::at(settings_.run_dir, plan.name);
  US_CHECK(files.has_value());  // as at create()
  if (auto found = read_definition(files->definition)) {
    found->plan.user = plan.user;
    if (found->run == run.run && found->plan.name == plan.name) return std::move(*found);
  }
  for (const FoundProcess& process : processes) {
    if (process.marker != marker(run)) continue;
    RunDefinition told = definition_of_arguments(arguments_of(process.pid), run.run, plan);
    told.apps = settings_.apps;
    return told;
  }
  return {run.run, plan, settings_.qemu.accelerator, "", settings_.apps};
}

// First a look at every process: an earlier daemon may have left a QEMU of this guest.
void QemuHypervisor::launch(core::GuestRun run) {
  if (find(run) != nullptr || looking_.count(run) != 0) return;  // asked already; its answer comes or came
  if (auto other = process_of_another_run(run)) return emit(LaunchFailed{run, *other});
  looking_.emplace(run, Asked{.launch = true});
  look_again(run);
}

void QemuHypervisor::adopt(core::GuestRun run) {
  if (find(run) != nullptr || looking_.count(run) != 0) return;  // asked already; its answer comes or came
  look_for(run, {.adopt = true});
}

// A run that this daemon does not know is proved stopped by the absence of its process, or taken and stopped.
void QemuHypervisor::fence(core::GuestRun run) {
  if (QemuRun* known = find(run)) return known->fence();
  if (!once_looked_for(run, &Asked::fence)) emit(GuestFenced{run, "it was not started"});
}

// ---- runs of a former daemon ----

bool QemuHypervisor::once_looked_for(core::GuestRun run, bool Asked::*what) {
  const auto looking = looking_.find(run);
  if (looking != looking_.end() && looking->second.launch) {
    looking_.erase(looking);
    return false;
  }
  Asked asked;
  asked.*what = true;
  if (looking == looking_.end()) {
    look_for(run, asked);
  } else {
    looking->second.*what = true;
  }
  return true;
}

// Every process is looked at only when the written pid is not it: there may be thousands.
void QemuHypervisor::look_for(core::GuestRun run, Asked asked) {
  if (const auto process = written_process(run)) return looked(run, asked, {*process});
  looking_.emplace(run, asked);
  look_again(run);
}

std::optional<FoundProcess> QemuHypervisor::written_process(core::GuestRun run) const {
  const auto files = GuestFiles::at(settings_.run_dir, settings_.guests.at(run.guest.value).name);
  US_CHECK(files.has_value());  // as at create()
  const auto written = files->read_process();
  if (!written || !is_the_qemu(marker(run), written->pid)) return std::nullopt;
  return FoundProcess{written->pid, marker(run)};
}

void QemuHypervisor::look_again(core::GuestRun run) {
  scan_.look([this, weak = std::weak_ptr(sink_), run](const auto& found) {
    const auto alive = weak.lock();
    if (!alive) return;
    const auto looking = looking_.find(run);
    if (looking == looking_.end()) return;  // fenced or discarded meanwhile
    const Asked asked = looking->second;
    if (!found && !asked.launch) {
      // Nobody may conclude anything: whether it runs is not known.
      emit(StopDelayed{run, found.error().message});
      return look_again(run);
    }
    looking_.erase(looking);
    if (!found) return emit(LaunchFailed{run, found.error().message});
    looked(run, asked, *found);
  });
}

void QemuHypervisor::looked(core::GuestRun run, Asked asked, const std::vector<FoundProcess>& processes) {
  if (asked.launch) {
    const GuestPlan& plan = settings_.guests.at(run.guest.value);
    return make(run, {run.run, plan, settings_.qemu.accelerator, "", settings_.apps}).launch(processes);
  }
  const bool there = std::any_of(processes.begin(), processes.end(),
                                 [&](const FoundProcess& each) { return each.marker == marker(run); });
  if (!there && !asked.adopt) return not_found(run, asked, processes);
  QemuRun& found = make(run, recorded(run, processes));
  if (asked.discard && !asked.adopt && !asked.fence) {
    found.adopt_stopped(processes);
  } else {
    found.adopt(processes);
  }
  if (asked.fence) found.fence();
  if (asked.discard) discard(run);
}

void QemuHypervisor::not_found(core::GuestRun run, Asked asked, const std::vector<FoundProcess>& processes) {
  const auto& user = settings_.guests.at(run.guest.value).user;
  const bool other_run = std::any_of(processes.begin(), processes.end(), [&](const FoundProcess& process) {
    return process.marker.guest == marker(run).guest;
  });
  if (user && !other_run) pool_.take_back_all(user->gid);
  if (asked.fence) emit(GuestFenced{run, "it has no process"});
  if (asked.discard) emit(GuestGone{run});
}

void QemuHypervisor::probe(core::GuestRun run) {
  if (QemuRun* known = find(run)) return known->probe();
  emit(ProbeAnswer{run, false, "the guest has no process"});
}

void QemuHypervisor::plug(core::GuestRun run, std::span<const core::AreaId> areas) {
  if (QemuRun* known = find(run)) return known->plug(areas);
  for (const core::AreaId area : areas) emit(PlugFailed{run, area, "the guest has no process"});
}

void QemuHypervisor::unplug(core::GuestRun run, std::span<const core::AreaId> areas) {
  if (QemuRun* known = find(run)) return known->unplug(areas);
  for (const core::AreaId area : areas) emit(UnplugFailed{run, area, "the guest has no process"});
}

void QemuHypervisor::dump(core::GuestRun run) {
  if (QemuRun* known = find(run)) return known->dump();
  emit(DumpDone{run, "", "the guest has no process"});
}

void QemuHypervisor::plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) {
  if (QemuRun* known = find(run)) return known->plug_vcpus(app, count);
  emit(VcpusPlugged{run, app, 0, "the guest has no process"});
}

void QemuHypervisor::unplug_vcpus(core::GuestRun run, core::AppId app) {
  if (QemuRun* known = find(run)) return known->unplug_vcpus(app);
  emit(VcpusUnplugged{run, app, 0, "the guest has no process"});
}

void QemuHypervisor::discard(core::GuestRun run) {
  if (QemuRun* known = find(run)) {
    host_bytes_.forget(known->pid());
    return known->discard();
  }
  // Else of a former daemon, which had verified that it is stopped.
  if (!once_looked_for(run, &Asked::discard)) emit(GuestGone{run});
}

std::optional<std::uint16_t> QemuHypervisor::forwarded_port(core::GuestRun run,
                                                            std::uint16_t guest_port) const {
  const QemuRun* known = find(run);
  if (known == nullptr) return std::nullopt;
  const auto found = known->ports().find(guest_port);
  if (found == known->ports().end()) return std::nullopt;
  return found->second;
}

std::optional<std::uint16_t> QemuHypervisor::forwarded_port(core::GuestRun run,
                                                            const std::string& app) const {
  const RunDefinition* known = definition(run);
  if (known == nullptr) return std::nullopt;
  const auto found = known->plan.app_ports.find(app);
  return found == known->plan.app_ports.end() ? std::nullopt : forwarded_port(run, found->second);
}

const RunDefinition* QemuHypervisor::definition(core::GuestRun run) const {
  const QemuRun* known = find(run);
  return known == nullptr ? nullptr : &known->definition();
}

std::optional<fs::path> QemuHypervisor::agent_socket(core::GuestRun run) const {
  const QemuRun* known = find(run);
  if (known == nullptr) return std::nullopt;
  return known->files().agent_socket;
}

bool QemuHypervisor::busy() const {
  return std::any_of(runs_.begin(), runs_.end(),
                     [](const auto& each) { return each.second->has_process() && each.second->busy(); });
}

std::optional<HostMemory> QemuHypervisor::host_memory(core::GuestRun run) {
  const QemuRun* known = find(run);
  if (known == nullptr || known->pid() == 0 || !known->has_process()) return std::nullopt;
  return host_bytes_.of(known->pid(), !busy());
}

void QemuHypervisor::look_at_next() {
  look_.expires_after(settings_.limits.look);
  look_.async_wait([this, weak = std::weak_ptr(sink_)](auto error) {
    const auto alive = weak.lock();
    if (error || !alive) return;
    look_at_next();
    if (runs_.empty()) return;
    auto next = looked_at_ ? runs_.upper_bound(*looked_at_) : runs_.begin();
    if (next == runs_.end()) next = runs_.begin();
    looked_at_ = next->first;
    next->second->look();
  });
}

pid_t QemuHypervisor::pid(core::GuestRun run) const {
  const QemuRun* known = find(run);
  return known != nullptr ? known->pid() : 0;
}

Result<void> QemuHypervisor::sigstop(core::GuestRun run) {
  QemuRun* known = find(run);
  return known == nullptr ? failure("the guest has no process") : known->signal(SIGSTOP);
}

Result<void> QemuHypervisor::sigkill(core::GuestRun run) {
  QemuRun* known = find(run);
  return known == nullptr ? failure("the guest has no process") : known->signal(SIGKILL);
}

}  // namespace understudy::qemu

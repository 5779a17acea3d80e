#include "agent/agent.hpp"

#include "agent/drills.hpp"
#include "agent/os.hpp"
#include "agent/own_domain.hpp"
#include "agent/own_processes.hpp"
#include "base/memory_rules.hpp"
#include "protocol/codec.hpp"

#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace understudy::agent {

namespace {

namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

// Different for every life of an agent; small enough for the protocol's numbers.
std::uint64_t draw_session() {
  std::uint64_t drawn = 0;
  // Never waits: early in a boot the pool may not be ready, and the clock is different enough then.
  if (::getrandom(&drawn, sizeof drawn, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof drawn)) {
    drawn = static_cast<std::uint64_t>(Loop::now().time_since_epoch().count());
  }
  return drawn % protocol::kMaxEpoch;
}

// The twin of an application: started for a rehearsal, isolated, once, and watched until it is ready.
std::vector<protocol::Application> with_rehearsals(std::vector<protocol::Application> applications) {
  for (std::size_t i = 0, count = applications.size(); i < count; ++i) {
    if (applications[i].rehearsal == 0) continue;
    protocol::Application twin = applications[i];
    twin.app = twin.rehearsal;
    twin.name += " (rehearsal)";
    twin.rehearsal = 0;
    twin.isolated = true;
    twin.hot_standby = false;
    twin.restart.attempts = 0;
    applications.push_back(std::move(twin));
  }
  return applications;
}

bool rehearses(const protocol::Application& twin, const protocol::Application& application) {
  return application.rehearsal != 0 && twin.app == application.rehearsal;
}

bool at(const protocol::Application& application, std::uint16_t port) {
  return port == application.port || port == application.health.port;
}

std::string staging_of(const Options& options) {
  return options.run_directory + "/own";
}

// Less than this is what every program has.
constexpr Bytes kKernelMemoryWorthNaming = 4_MiB;

// Of what an application may have: for its health checks, and what prepares it.
constexpr std::uint64_t kProcessesOfHelpers = 64;

}  // namespace

Result<std::unique_ptr<Agent>> Agent::create(Loop& loop, Options options) {
  auto children = Children::create(loop);
  if (!children) return tl::unexpected(children.error());
  std::unique_ptr<Agent> agent(new Agent(loop, std::move(options), std::move(*children)));
  agent->set_up_containers();
  agent->try_processes();
  agent->listen_to_kernel();
  agent->port_.open();
  return agent;
}

Agent::Agent(Loop& loop, Options options, std::unique_ptr<Children> children)
    : loop_(loop),
      options_(std::move(options)),
      children_(std::move(children)),
      base_bytes_(memory().total_bytes),
      blocks_(options_.memory_directory),
      host_{loop,
            *children_,
            [this](const std::string& name) -> Result<std::unique_ptr<Container>> {
              if (!cgroups_.empty()) return CgroupContainer::create(loop_, cgroups_, name);
              return std::make_unique<SessionContainer>();
            },
            [this](const protocol::FromAgent& message) {
              send(message);
              // After the answer: a takeover waits for that.
              if (std::holds_alternative<from::Engaged>(message) ||
                  std::holds_alternative<from::Released>(message))
                adjust_limits();
            },
            [this](protocol::AreaNumber area) {
              const auto found = area_bytes_.find(area);
              return found == area_bytes_.end() ? Bytes{0} : found->second;
            },
            options_.run_directory,
            options_.passwd_file,
            [this](const protocol::Application& of, Bytes limit) { return namespaces(of, limit); },
            [this] { return limits_ ? limits_->processes() : 0; },
            [this](Container& container, const protocol::Application& of, Part part) {
              bound(container, of, part);
            },
            [this](const protocol::Application& of, const User& user) { return needs_own_domain(of, user); },
            [this](const std::string& name) { return shortage(name); },
            [this](pid_t process) { return owner(process); }},
      engager_(
          loop, blocks_, base_bytes_, [this] { return memory_left(); }, host_.send),
      releaser_(loop, *children_, blocks_, options_.drop_caches_file, host_.send,
                [this] { return describe_use(); }),
      preparer_(host_),
      cpus_(*children_, options_.cpu_directory, [this](const std::string& text) { log(text); }),
      port_(loop, options_.port,
            {[this](std::string_view line) { on_line(line); }, [this] { greet(); },
             [this] { on_disconnected(); },
             [this] {
               log("a line longer than " + std::to_string(protocol::kMaxLineToAgent) + " bytes was dropped");
             },
             [this] { say_where_all_stand(); }}),
      session_(draw_session()) {
  (void)::mkdir(options_.run_directory.c_str(), 0755);
  (void)::mkdir(staging_of(options_).c_str(), 0755);
  if (!options_.sysctl_directory.empty()) limits_.emplace(options_.sysctl_directory, base_bytes_);
}

Agent::~Agent() = default;

void Agent::set_up_containers() {
  if (!options_.cgroup_root.empty()) {
    auto parent = prepare_cgroups(options_.cgroup_root);
    if (parent) {
      cgroups_ = *parent;
      const auto handed_down = read_file(cgroups_ + "/cgroup.subtree_control");
      if (!handed_down || handed_down->find("pids") == std::string::npos)
        say("no cgroup limits how many processes an application has: those of one user share that user's "
            "limit");
      return;
    }
    say("no cgroups, so applications run without a memory limit: " + parent.error().message);
  }
  children_->on_any_end([this] {
    for (const auto& [name, application] : applications_) application->look();
    preparer_.look();
  });
}

void Agent::listen_to_kernel() {
  auto uevents = Uevents::create();
  if (!uevents) return say("the kernel's device events cannot be heard: " + uevents.error().message);
  uevents_ = std::move(*uevents);
  uevents_->watch(loop_, {[this](const Uevent& event) {
                            engager_.on_uevent(event);
                            cpus_.on_uevent(event);
                            if (event.subsystem == "virtio-ports") port_.look_again();
                          },
                          [this] {
                            engager_.look_again();
                            cpus_.look_again();
                            port_.look_again();
                          }});
}

// ---- what applications have of the guest ----

// Without cgroups nobody would be told that what its keeper has adopted has ended.
void Agent::try_processes() {
  if (options_.own_files == OwnFilesOf::nobody) return;
  if (cgroups_.empty()) {
    why_no_processes_ = "there are no cgroups";
  } else if (auto tried = try_own_processes(); !tried) {
    why_no_processes_ = tried.error().message;
  }
}

Namespaces Agent::namespaces(const protocol::Application& of, Bytes memory_limit_bytes) {
  Namespaces own;
  own.isolated = of.isolated;
  own.scratch = of.scratch;
  if (options_.own_files == OwnFilesOf::nobody) return own;
  own.files = OwnFiles{options_.own_files == OwnFilesOf::our_image,
                       memory_limit_bytes,
                       most_files(memory_limit_bytes, base_bytes_),
                       staging_of(options_),
                       options_.run_directory,
                       options_.run_directory + "/own-" + of.name};
  own.processes = why_no_processes_.empty();
  if (!own.processes && !std::exchange(told_of_processes_, true))
    log("applications of this guest that run as one user can stop each other's processes: " +
        why_no_processes_);
  return own;
}

MemInfo Agent::memory_left(const Application* asking) const {
  MemInfo left = memory();
  Bytes promised = engager_.unengaged_bytes();
  for (const auto& [name, application] : applications_) {
    const bool its_own =
        asking != nullptr && (application.get() == asking || application->rehearsed_for(*asking));
    if (!its_own)
      promised += application->promised_bytes(engager_.engaged_bytes(application->definition().app));
  }
  left.available_bytes -= std::min(left.available_bytes, promised);
  return left;
}

Shortage Agent::shortage(const std::string& name) const {
  Shortage shortage;
  Bytes own = 0;
  Bytes most = 0;
  std::string holder;
  for (const auto& [other, application] : applications_) {
    const Bytes held = application->recent_kernel_memory();
    if (other == name) own = held;
    if (held <= most) continue;
    most = held;
    holder = other;
  }
  shortage.somebody_elses = holder != name && most >= kKernelMemoryWorthNaming && most > own;
  shortage.text =
      "the guest's kernel ran out of memory of its own (network buffers, page tables, open files), which has "
      "to "
      "fit into the guest's base memory, however much it has in areas";
  if (most >= kKernelMemoryWorthNaming)
    shortage.text += "; " + holder + " held " + format_size(most) + " of it";
  shortage.text += "; give this guest more `base_memory`";
  return shortage;
}

std::string Agent::owner(pid_t process) const {
  const auto found = std::find_if(applications_.begin(), applications_.end(),
                                  [process](const auto& entry) { return entry.second->has(process); });
  return found == applications_.end() ? "" : found->first;
}

void Agent::adjust_limits() {
  if (!limits_) return;
  limits_->adjust(memory().total_bytes, [this](const std::string& text) { log(text); });
  bound_all();
}

void Agent::bound(Container& container, const protocol::Application& of, Part part) {
  std::vector<std::uint16_t> others = ports_;
  std::erase_if(others, [&of](std::uint16_t port) { return at(of, port); });
  if (auto refused = container.refuse_ports(std::move(others));
      !refused && !std::exchange(told_of_ports_, true)) {
    log("applications are not kept from listening at each other's ports: " + refused.error().message);
  }
  if (!limits_) return;
  // An application and its rehearsal share what is one application's: both run in one guest at no time.
  const auto applications = std::count_if(applications_.begin(), applications_.end(), [](const auto& entry) {
    return !entry.second->definition().isolated;
  });
  const std::uint64_t each = limits_->processes_of_each(static_cast<std::size_t>(applications));
  const std::uint64_t helpers = std::min(kProcessesOfHelpers, each / 4);
  container.limit_processes(part == Part::helper ? helpers : each - helpers);
}

void Agent::bound_all() {
  for (const auto& [name, application] : applications_) application->take_bounds();
}

// Nothing in a guest is kept from its root, and where an application has its user to itself, the user keeps
// others off: then it may mount what it likes.
bool Agent::needs_own_domain(const protocol::Application& of, const User& user) {
  if (user.uid == 0 || ::geteuid() != 0) return false;
  const std::string passwd = read_file(options_.passwd_file).value_or("");
  const bool shared = std::any_of(applications_.begin(), applications_.end(), [&](const auto& entry) {
    const protocol::Application& other = entry.second->definition();
    if (other.app == of.app || rehearses(other, of) || rehearses(of, other)) return false;
    const auto others = find_user(other.user, passwd);
    return others && others->uid == user.uid;
  });
  if (!shared || has_domains()) return shared;
  if (!std::exchange(told_of_domains_, true))
    log("applications that run as one user can read each other's environment and memory: this kernel has no "
        "Landlock (5.19 or newer, with landlock in lsm=)");
  return false;
}

void Agent::reserve_ports() {
  ports_.clear();
  for (const auto& [name, application] : applications_) {
    const protocol::Application& definition = application->definition();
    for (const auto port : {definition.port, definition.health.port}) {
      if (port != 0) ports_.push_back(port);
    }
  }
  std::sort(ports_.begin(), ports_.end());
  ports_.erase(std::unique(ports_.begin(), ports_.end()), ports_.end());
  if (options_.sysctl_directory.empty()) return;
  std::string text;
  for (const std::uint16_t port : ports_) text += (text.empty() ? "" : ",") + std::to_string(port);
  (void)write_file(options_.sysctl_directory + "/net/ipv4/ip_local_reserved_ports", text);
}

std::string Agent::describe_use() const {
  std::string text = understudy::agent::describe_use(read_file(options_.meminfo_file).value_or(""));
  for (const auto& [name, application] : applications_) {
    const Bytes used = application->memory_used();
    if (used != 0) text += (text.empty() ? "" : ", ") + name + " uses " + format_size(used);
  }
  return text;
}

// ---- the line ----

void Agent::on_line(std::string_view line) {
  if (line.empty()) return;  // a new connection begins with one, to end what a former one left unfinished
  auto message = protocol::decode_to_agent(line);
  if (!message) return log("the daemon's message was refused: " + message.error().message);
  std::visit([this](const auto& one) { handle(one); }, *message);
}

void Agent::on_disconnected() {
  welcomed_ = false;
  beat_timer_.reset();
}

bool Agent::send(const protocol::FromAgent& message) {
  auto line = protocol::encode(message);
  if (line) return port_.send(std::move(*line));
  say("a message could not be written: " + line.error().message);
  return false;
}

void Agent::log(const std::string& text) {
  say(text);
  if (welcomed_) send(from::Log{text});
}

void Agent::greet() {
  welcomed_ = false;
  beat_timer_.reset();
  const MemInfo now = memory_left();
  const std::string boot_id = read_file("/proc/sys/kernel/random/boot_id").value_or("");
  port_.send("\n");
  send(from::Hello{protocol::kVersion, std::string(trim(boot_id)), session_, now.total_bytes,
                   now.available_bytes, blocks_.block_bytes()});
}

void Agent::beat() {
  // Late by more than a beat (the guest was paused): not all at once now.
  next_beat_ = std::max(next_beat_ + beat_interval_, Loop::now());
  beat_timer_ = loop_.at(next_beat_, [this] { beat(); });
  // A beat that would queue behind others tells nothing that they do not tell.
  if (!port_.idle()) return;
  if (Loop::now() - beat_memory_at_ >= kMemoryOfBeatsAge) {
    beat_memory_ = memory_left();
    beat_memory_at_ = Loop::now();
    for (const auto& [name, application] : applications_) application->sample_kernel_memory();
  }
  send(from::Beat{beats_++, beat_memory_.total_bytes, beat_memory_.available_bytes});
}

void Agent::say_where_all_stand() {
  for (const auto& [name, application] : applications_) application->say_where_it_stands();
}

// ---- messages ----

void Agent::handle(const to::Welcome& message) {
  if (message.version != protocol::kVersion) {
    return say("the daemon speaks version " + std::to_string(message.version) +
               " of the protocol, this agent " + std::to_string(protocol::kVersion) +
               ": build the guest's image with the daemon's release");
  }
  welcomed_ = true;
  const auto definitions = with_rehearsals(message.applications);
  std::map<protocol::AppNumber, protocol::AppNumber> now_by_before;
  for (const auto& definition : definitions) {
    const auto found = applications_.find(definition.name);
    if (found != applications_.end()) now_by_before[found->second->definition().app] = definition.app;
  }
  engager_.renumber(now_by_before);
  drop_undefined(definitions);
  for (const auto& definition : definitions) define(definition);
  reserve_ports();
  bound_all();
  say_where_all_stand();
  beat_interval_ = std::chrono::milliseconds(message.beat_interval_ms);
  next_beat_ = Loop::now();
  beat();
}

void Agent::define(const protocol::Application& definition) {
  const auto found = applications_.find(definition.name);
  if (found != applications_.end()) return found->second->redefine(definition);
  auto created = Application::create(host_, definition);
  if (!created) return log("application " + definition.name + " cannot be held: " + created.error().message);
  applications_.emplace(definition.name, std::move(*created));
}

void Agent::drop_undefined(const std::vector<protocol::Application>& defined) {
  std::erase_if(applications_, [&](const auto& entry) {
    const bool kept = std::any_of(defined.begin(), defined.end(),
                                  [&](const auto& definition) { return definition.name == entry.first; });
    if (!kept) log("application " + entry.first + " is no longer configured for this guest; it is ended");
    return !kept;
  });
}

void Agent::handle(const to::Refuse& message) {
  say("the daemon refuses this agent: " + message.why);
}

void Agent::handle(const to::Need& message) {
  const auto need = compute_need(message.memory_bytes, memory_left(find(message.app)).available_bytes);
  send(from::Need{message.app, message.epoch, need.required_bytes, need.available_bytes, need.missing_bytes});
}

void Agent::handle(const to::Engage& message) {
  for (const auto& area : message.areas) area_bytes_[area.id] = area.bytes;
  engager_.engage(message);
}

Application* Agent::find(protocol::AppNumber app) {
  for (const auto& [name, application] : applications_) {
    if (application->definition().app == app) return application.get();
  }
  log("there is no application " + std::to_string(app) + " here");
  return nullptr;
}

void Agent::handle(const to::Start& message) {
  if (auto* application = find(message.app)) return application->start(message);
  send(from::StartFailed{message.app, message.epoch, "this guest's agent does not know the application", ""});
}

void Agent::handle(const to::Stop& message) {
  if (auto* application = find(message.app)) return application->stop(message);
  send(from::StopFailed{message.app, message.epoch, "this guest's agent does not know the application"});
}

void Agent::handle(const to::Prepare& message) {
  if (auto* application = find(message.app)) preparer_.prepare(application->definition());
}

void Agent::handle(const to::GrowDone& message) {
  if (auto* application = find(message.app)) application->grow_done(message);
}

void Agent::handle(const to::GrowRefused& message) {
  if (auto* application = find(message.app)) application->grow_refused(message);
}

void Agent::handle(const to::Tail& message) {
  if (const auto* application = find(message.app))
    send(from::Tail{message.app, std::string(application->output(message.bytes))});
}

void Agent::handle(const to::Query&) {
  from::State state;
  for (const auto& [name, application] : applications_) state.apps.push_back(application->state());
  send(std::move(state));
}

void Agent::handle(const to::Drill& message) {
  using protocol::DrillKind;
  switch (message.kind) {
    case DrillKind::os_panic:
      if (auto done = panic_os(); !done) log("the drill could not panic the kernel: " + done.error().message);
      return;
    case DrillKind::silence: return port_.fall_silent(std::chrono::milliseconds(message.duration_ms));
    case DrillKind::app_exit:
      if (auto* application = find(message.app)) application->signal_all(SIGKILL);
      return;
    case DrillKind::app_crash:
      if (auto* application = find(message.app)) application->signal_all(SIGSEGV);
      return;
    case DrillKind::app_hang:
      if (auto* application = find(message.app)) application->signal_all(SIGSTOP);
      return;
  }
}

}  // namespace understudy::agent

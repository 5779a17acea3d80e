#include "agent/application.hpp"

#include "agent/listeners.hpp"
#include "agent/os.hpp"
#include "agent/process_state.hpp"
#include "base/memory_rules.hpp"

#include <signal.h>

#include <algorithm>

namespace understudy::agent {

namespace {

namespace from = protocol::from_agent;

}  // namespace

Result<std::unique_ptr<Application>> Application::create(Host& host, protocol::Application definition) {
  auto container = host.make_container("app-" + definition.name);
  if (!container) return tl::unexpected(container.error());
  auto checks = host.make_container("check-" + definition.name);
  if (!checks) return tl::unexpected(checks.error());
  std::unique_ptr<Keeper> keeper;
  if (host.namespaces && host.namespaces(definition, 0).any()) {
    auto keepers = host.make_container("keeper-" + definition.name);
    if (!keepers) return tl::unexpected(keepers.error());
    keeper = std::make_unique<Keeper>(std::move(*keepers));
  }
  return std::unique_ptr<Application>(new Application(host, std::move(definition), std::move(*container),
                                                      std::move(*checks), std::move(keeper)));
}

Application::Application(Host& host, protocol::Application definition, std::unique_ptr<Container> container,
                         std::unique_ptr<Container> checks, std::unique_ptr<Keeper> keeper)
    : host_(host),
      definition_(std::move(definition)),
      container_(std::move(container)),
      checks_(std::move(checks)),
      keeper_(std::move(keeper)) {
  container_->on_change([this] { look(); });
  container_->on_stall([this] { stalled(); });
  checks_->on_change([this] { look(); });
  if (keeper_) keeper_->on_change([this] { look(); });
}

Application::~Application() {
  container_->on_change({});
  container_->on_stall({});
  checks_->on_change({});
  if (keeper_) keeper_->on_change({});
  run_.reset();
  kill_everything();
}

// ---- requests ----

void Application::start(const protocol::to_agent::Start& request) {
  if (request.epoch < epoch_) {
    return say(from::StartFailed{app(), request.epoch,
                                 "epoch " + std::to_string(request.epoch) +
                                     " is over: this guest has seen epoch " + std::to_string(epoch_),
                                 ""});
  }
  if (request.epoch == epoch_) return start_again(request);
  begin(request);
}

void Application::begin(const protocol::to_agent::Start& request) {
  epoch_ = request.epoch;
  stuck_.reset();
  memory_limit_bytes_ = request.memory_limit_bytes;
  areas_ = request.areas;
  has_served_ = false;
  policy_.emplace(definition_.restart, definition_.hot_standby);
  clear_and_launch(true);
}

void Application::start_again(const protocol::to_agent::Start& request) {
  if (is<Idle>() || is<Stopping>()) {
    return say(
        from::StartFailed{app(), epoch_, "this epoch has been stopped; a new start takes a new epoch", ""});
  }
  memory_limit_bytes_ = request.memory_limit_bytes;
  areas_ = request.areas;
  if (is<WantingMemory>()) return clear_and_launch();
  if (is<Serving>()) {
    if (auto limited = container_->limit_memory(memory_limit_bytes_); !limited) {
      say(from::Log{definition_.name + ": " + limited.error().message});
    }
  }
  say_where_it_stands();  // while it is starting the answer is still to come
}

void Application::stop(const protocol::to_agent::Stop& request) {
  // A newer epoch was started only after all before it had ended.
  if (request.epoch < epoch_) return say(from::Stopped{app(), request.epoch});
  epoch_ = request.epoch;
  if (is<Stopping>() && stuck_) {
    stuck_->epoch = epoch_;
    return say(*stuck_);
  }
  if (is<Stopping>()) return;  // the answer will come
  // What was only rehearsed has nothing to put in order, and somebody may be waiting for its place.
  if (definition_.isolated && anything_left()) return kill_to_stop();
  if (is<Starting>() || is<Serving>()) return stopping();
  if (anything_left() || namespaces_left()) return kill_to_stop();
  stopped();
}

bool Application::has(pid_t process) const {
  const std::vector<pid_t> all = container_->processes();
  return std::find(all.begin(), all.end(), process) != all.end();
}

Bytes Application::promised_bytes(Bytes engaged_bytes) const {
  const bool over = is<Idle>() || is<Stopping>() || is<Faulted>();
  const Bytes promised = std::max(over ? 0 : memory_limit_bytes_, engaged_bytes);
  if (promised == 0) return 0;
  return promised - std::min(promised, container_->memory_used() + container_->kernel_memory_used());
}

void Application::grow_done(const protocol::to_agent::GrowDone& answer) {
  if (answer.epoch != epoch_ || !is<WantingMemory>()) return;
  memory_limit_bytes_ = answer.memory_limit_bytes;
  for (const auto area : answer.areas) {
    if (std::find(areas_.begin(), areas_.end(), area) == areas_.end()) areas_.push_back(area);
  }
  clear_and_launch();
}

void Application::grow_refused(const protocol::to_agent::GrowRefused& answer) {
  if (answer.epoch != epoch_ || !is<WantingMemory>()) return;
  const std::string cause = "out of memory, and more was refused: " + answer.why;
  act(policy_->memory_refused(answer.why, Loop::now()), cause);
}

// ---- start ----

// What an earlier start wrote is nothing to a new one, wherever it was.
void Application::clear_and_launch(bool namespaces_too) {
  run_.reset();
  if (namespaces_too) end_namespaces();
  if (!anything_left() && !(namespaces_too && namespaces_left())) return launch();
  kill_everything();
  state_ = Clearing{namespaces_too, host_.loop.after(kKillPatience, [this] {
                      still_there("being cleared away for a new start");
                    })};
  look();
}

void Application::launch() {
  stuck_.reset();
  if (auto renewed = container_->renew(); !renewed)
    say(from::Log{definition_.name + ": its cgroup could not be made anew: " + renewed.error().message});
  if (auto limited = container_->limit_memory(memory_limit_bytes_); !limited && memory_limit_bytes_ != 0) {
    say(from::Log{definition_.name + " runs without a memory limit: " + limited.error().message});
  }
  take_bounds();
  out_of_memory_before_ = container_->out_of_memory();
  refused_processes_before_ = container_->refused_processes();
  const Duration limit = std::chrono::milliseconds(definition_.start_limit_ms);
  state_ = Starting{host_.loop.after(limit, [this, limit] {
    const std::string why = run_ ? run_->why_not_ready() : "";
    fault({FaultKind::not_ready,
           "it was not ready within " + format_duration(limit) + (why.empty() ? "" : "; " + why)});
  })};
  if (auto taken = port_taken()) return fault(std::move(*taken));
  auto launched =
      Run::launch(host_, definition_, {*container_, *checks_, output_, keeper_.get(), memory_limit_bytes_},
                  {[this] { ready(); }, [this](Fault why) { fault(std::move(why)); }, [this] { look(); }});
  if (!launched) return fault(std::move(launched.error()));
  run_ = std::move(*launched);
}

// Its clients and its health check would be answered by whoever has its port.
std::optional<Fault> Application::port_taken() const {
  if (definition_.port == 0 || definition_.isolated) return std::nullopt;
  const auto pid = who_listens(definition_.port);
  if (!pid) return std::nullopt;
  const auto process = read_process_state(*pid);
  const std::string owner = host_.owner ? host_.owner(*pid) : "";
  return Fault{FaultKind::ended, "port " + std::to_string(definition_.port) +
                                     " of the guest is taken: process " + std::to_string(*pid) +
                                     (process ? " (" + process->name + ")" : "") +
                                     (owner.empty() ? "" : " of " + owner) + " listens there"};
}

void Application::take_bounds() {
  if (!host_.bound) return;
  host_.bound(*container_, definition_, Part::itself);
  host_.bound(*checks_, definition_, Part::helper);
}

void Application::ready() {
  state_ = Serving{};
  has_served_ = true;
  say_serving();
  tell_where_it_listens();
}

// Said for whoever wonders why nobody reaches it; the host finds out by itself whether that is so.
void Application::tell_where_it_listens() {
  if (definition_.port == 0 || definition_.isolated) return;
  const auto where = listens(definition_.port, read_file("/proc/net/tcp").value_or(""),
                             read_file("/proc/net/tcp6").value_or(""));
  if (where != Listens::on_loopback_only) return;
  say(from::Log{definition_.name + " listens at port " + std::to_string(definition_.port) +
                " of the guest's loopback only, so no client reaches it: have it listen on 0.0.0.0 (for "
                "example redis-server --bind 0.0.0.0)"});
}

void Application::say_serving() {
  Bytes plugged = 0;
  for (const auto area : areas_) plugged += host_.area_bytes(area);
  const Bytes usable = usable_bytes(plugged);
  const Bytes base = memory_limit_bytes_ > usable ? memory_limit_bytes_ - usable : 0;
  say(from::Serving{app(), epoch_, areas_, base, run_ ? static_cast<std::uint32_t>(run_->pid()) : 0});
}

// ---- faults ----

void Application::fault(Fault fault) {
  if (run_) run_->mute();
  judge_memory(fault);
  judge_processes(fault);
  kill_everything();
  state_ = Ending{std::move(fault),
                  host_.loop.after(kKillPatience, [this] { still_there("ending after a fault"); }),
                  host_.loop.after(kEndingPatience, [this] { not_ended_yet(); })};
  look();
}

void Application::not_ended_yet() {
  if (has_served_) say(from::Restarting{app(), epoch_, std::get<Ending>(state_).fault.text, 0, 0, true});
}

// Whose memory ran out: the application's own, a part of it that it had limited itself, or the guest's.
void Application::judge_memory(Fault& fault) const {
  const OutOfMemory now = container_->out_of_memory();
  const bool killed = now.killed_since(out_of_memory_before_);
  if (killed && now.limit_since(out_of_memory_before_)) fault.kind = FaultKind::out_of_memory;
  if (fault.kind == FaultKind::out_of_memory) {
    fault.text = "out of memory (limit " + format_size(memory_limit_bytes_) + "): " + fault.text;
  } else if (killed && now.below_since(out_of_memory_before_)) {
    fault.text += "; a memory limit was reached that it had set itself, below its own";
  } else if (killed) {
    const Shortage shortage = host_.shortage ? host_.shortage(definition_.name) : Shortage{};
    fault.kind = FaultKind::guest_out_of_memory;
    fault.blameless = shortage.somebody_elses;
    fault.text += "; " + shortage.text;
  }
}

// For whoever reads "Resource temporarily unavailable" in its output.
void Application::judge_processes(Fault& fault) const {
  if (container_->refused_processes() <= refused_processes_before_) return;
  fault.text +=
      "; it had as many processes and threads as it may have in this guest, and was refused more (the "
      "applications of a guest share them equally: give it fewer others, or more `base_memory`)";
}

void Application::kill_everything() {
  container_->kill_all();
  checks_->kill_all();
}

void Application::end_namespaces() {
  if (keeper_) keeper_->end();
}

// As good as killed by the kernel, which would let it crawl like this for minutes.
void Application::stalled() {
  if (!is<Starting>() && !is<Serving>()) return;
  fault({FaultKind::out_of_memory, "it did little but read in its own program again"});
}

void Application::look() {
  if (is<Closing>() && !namespaces_left()) {
    const auto decision = std::get<Closing>(state_).decision;
    return give_up(decision);
  }
  if (!is<Ending>() && !is<Stopping>() && !is<Clearing>()) return;
  if (anything_left()) return;
  if (is<Ending>()) return ended();
  if (is<Stopping>()) {
    if (!namespaces_left()) return stopped();
    return end_namespaces();
  }
  if (!std::get<Clearing>(state_).namespaces_too || !namespaces_left()) launch();
}

void Application::ended() {
  stuck_.reset();
  const Fault fault = std::get<Ending>(state_).fault;
  // The first start of an epoch is answered; whether it is tried again, and where, is the daemon's to decide.
  if (!has_served_) {
    return close({fault.text, protocol::FaultLevel::unrecoverable, fault.kind == FaultKind::in_background});
  }
  act(policy_->decide(fault, memory_limit_bytes_, Loop::now()), fault.text);
}

// Given up, and said so when nothing of what it wrote is left either: its areas are taken next.
void Application::close(const FaultPolicy::GiveUp& decision) {
  if (!namespaces_left()) return give_up(decision);
  state_ = Closing{decision, host_.loop.after(kKillPatience, [this] { still_there("with its namespaces"); })};
  end_namespaces();
}

void Application::act(const FaultPolicy::Decision& decision, const std::string& cause) {
  if (const auto* restart = std::get_if<FaultPolicy::RestartInPlace>(&decision)) {
    const auto delay_ms = static_cast<std::uint64_t>(to_ms(restart->delay));
    Waiting waiting{{app(), epoch_, cause, restart->attempt, delay_ms},
                    host_.loop.after(restart->delay, [this] { clear_and_launch(); })};
    state_ = std::move(waiting);
    return say(std::get<Waiting>(state_).said);
  }
  if (const auto* ask = std::get_if<FaultPolicy::AskMemory>(&decision)) {
    WantingMemory wanting{
        {app(), epoch_, ask->more_bytes}, host_.loop.after(kMemoryPatience, [this] {
          grow_refused({app(), epoch_, "no answer within " + format_duration(kMemoryPatience)});
        })};
    state_ = std::move(wanting);
    return say(std::get<WantingMemory>(state_).said);
  }
  close(std::get<FaultPolicy::GiveUp>(decision));
}

void Application::give_up(const FaultPolicy::GiveUp& decision) {
  const std::string evidence = run_ ? run_->evidence() : "";
  run_.reset();
  if (has_served_) {
    state_ = Faulted{
        from::Faulted{app(), epoch_, decision.cause, evidence, decision.level, decision.configuration}};
  } else {
    state_ = Faulted{from::StartFailed{app(), epoch_, decision.cause, evidence, decision.configuration}};
  }
  say(std::get<Faulted>(state_).said);
}

// ---- stop ----

void Application::stopping() {
  run_->mute();
  state_ = Stopping{
      host_.loop.after(std::chrono::milliseconds(definition_.stop_limit_ms), [this] { kill_to_stop(); })};
  container_->signal_all(SIGTERM);
  container_->signal_all(SIGCONT);  // one that is stopped does not see its SIGTERM
  look();
}

void Application::kill_to_stop() {
  if (run_) run_->mute();
  kill_everything();
  state_ = Stopping{host_.loop.after(kKillPatience, [this] { still_there("being stopped"); })};
  look();
}

void Application::stopped() {
  stuck_.reset();
  run_.reset();
  state_ = Idle{};
  say(from::Stopped{app(), epoch_});
}

void Application::still_there(const std::string& doing) {
  std::vector<pid_t> left = container_->processes();
  if (left.empty()) left = checks_->processes();
  if (left.empty() && keeper_) left = keeper_->processes();
  std::string who = "something of it";
  if (!left.empty()) {
    const auto process = read_process_state(left.front());
    who = "process " + std::to_string(left.front()) +
          (process ? " (" + process->name + ", state " + std::string(1, process->state) + ")" : "");
  }
  stuck_ = from::StopFailed{app(), epoch_,
                            who + " is still there " + format_duration(kKillPatience) + " after SIGKILL, " +
                                doing + "; only ending the guest ends it for certain"};
  say(*stuck_);
}

// ---- what it is doing ----

std::string_view Application::output(std::size_t most_bytes) const {
  std::string_view text = output_.text();
  if (text.size() <= most_bytes) return text;
  text.remove_prefix(text.size() - most_bytes);
  const std::size_t end = text.find('\n');  // of a line that is not whole
  if (end != std::string_view::npos && end + 1 < text.size()) text.remove_prefix(end + 1);
  return text;
}

void Application::sample_kernel_memory() {
  if (!is<Starting>() && !is<Serving>()) return;
  const Bytes now = container_->kernel_memory_used();
  if (!kernel_memory_.recent() || now >= kernel_memory_.bytes) kernel_memory_ = {now, Loop::now()};
}

Bytes Application::recent_kernel_memory() const {
  return std::max(kernel_memory_.recent() ? kernel_memory_.bytes : 0, container_->kernel_memory_used());
}

void Application::say_where_it_stands() {
  if (stuck_) return say(*stuck_);
  if (is<Serving>()) return say_serving();
  if (const auto* waiting = std::get_if<Waiting>(&state_)) return say(waiting->said);
  if (const auto* wanting = std::get_if<WantingMemory>(&state_)) return say(wanting->said);
  if (const auto* faulted = std::get_if<Faulted>(&state_)) return say(faulted->said);
}

protocol::from_agent::AppState Application::state() const {
  using protocol::Phase;
  struct Name {
    bool has_served;
    Phase operator()(const Idle&) const { return Phase::idle; }
    Phase operator()(const Clearing&) const { return has_served ? Phase::restarting : Phase::starting; }
    Phase operator()(const Starting&) const { return has_served ? Phase::restarting : Phase::starting; }
    Phase operator()(const Serving&) const { return Phase::serving; }
    Phase operator()(const Ending&) const { return Phase::ending; }
    Phase operator()(const Closing&) const { return Phase::ending; }
    Phase operator()(const Waiting&) const { return Phase::restarting; }
    Phase operator()(const WantingMemory&) const { return Phase::wanting_memory; }
    Phase operator()(const Stopping&) const { return Phase::stopping; }
    Phase operator()(const Faulted&) const { return Phase::faulted; }
  };
  return {app(), epoch_, std::visit(Name{has_served_}, state_)};
}

}  // namespace understudy::agent

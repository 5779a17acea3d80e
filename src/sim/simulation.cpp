#include "sim/simulation.hpp"

#include <algorithm>
#include <utility>

namespace understudy::sim {

namespace {

namespace event = core::event;

// More wake-ups than this in a second of virtual time: a deadline is waited for that does not move.
constexpr std::uint32_t kMostTicksPerSecond = 5000;
// Whoever is held back for no longer comes back by itself, without an order.
constexpr Duration kShortFlapWindow = std::chrono::seconds(30);
constexpr Span kDaemonAway{std::chrono::milliseconds(1), std::chrono::milliseconds(800)};

}  // namespace

Simulation::Simulation(Shape shape, std::uint64_t seed, Wrap wrap)
    : world(std::move(shape), seed),
      journal(world.setup()),
      checkers(world, journal),
      observer(world, checkers),
      nemesis(
          world, journal,
          {[this] {
             // In the middle of one of the next steps, which is where it hurts.
             if (world.die_at <= world.points) world.die_at = world.points + 1 + world.random.below(30);
           },
           [this](const core::Event& event) { command(event); },
           [this](Duration ahead) { jump_clock(ahead); }, [this](Duration delay) { stall_daemon(delay); }}),
      hypervisor_(world, checkers),
      agents_(world, checkers),
      journal_port_(world, checkers, journal),
      gate_(world, checkers),
      pool_(world, checkers),
      clock_(world, [this] { deliver(event::Tick{}); }),
      ports_(wrap ? wrap(world, {clock_, journal_port_, gate_, hypervisor_, agents_, pool_, observer})
                  : engine::Ports{clock_, journal_port_, gate_, hypervisor_, agents_, pool_, observer}),
      trial_random_(~seed) {
  world.deliver = [this](const core::Event& event) { deliver(event); };
}

void Simulation::start_daemon() {
  ++world.daemon;
  world.daemon_up = true;
  world.say("the daemon starts");
  if (journal.written() > 0 && world.random.chance(world.shape.file_changes)) world.change_file();
  daemon_ = std::make_unique<Daemon>(world.setup(), ports_);
  hypervisor_.begin_looks();
  if (journal.written() > 0) resume();
  repeat_order();
}

void Simulation::resume() {
  const Result<void> restored = daemon_->core.restore(journal.records());
  if (!restored) {
    checkers.violated("the daemon does not start again: " + restored.error().message);
    return;
  }
  deliver(event::Resume{});
}

// Whoever starts a daemon again does it with `understudy up`: the daemon brings everything up, whatever was
// going on. Who wanted it down, or saw the connection break before `down` was done, says so again.
void Simulation::repeat_order() {
  if (!order_) return;
  deliver(event::BringUp{});
  if (std::holds_alternative<event::BringDown>(*order_)) deliver(*order_);
}

void Simulation::kill_daemon() {
  world.say("the daemon dies");
  checkers.daemon_died();
  daemon_.reset();
  world.daemon_up = false;
  ++world.daemon;
  clock_.forget();
  held_.clear();
  world.stalled_until = {};
  // The gateway is a process of its own: clients are led on to where they were.
}

void Simulation::restart_daemon_after(Duration delay) {
  world.timeline.after(delay, [this] {
    if (!daemon_) start_daemon();
  });
}

void Simulation::jump_clock(Duration ahead) {
  world.clock_ahead += ahead;
  if (daemon_) clock_.jumped();
}

void Simulation::stall_daemon(Duration delay) {
  if (!daemon_ || world.now() < world.stalled_until) return;
  world.stalled_until = world.now() + delay;
  world.timeline.at(world.stalled_until, [this, life = world.daemon] {
    if (life == world.daemon) go_on_after_stall();
  });
}

// Its timers and its sockets are ready at once; which of them it looks at first is not to matter.
void Simulation::go_on_after_stall() {
  world.say("the daemon goes on");
  const std::vector<core::Event> held = std::exchange(held_, {});
  if (world.random.chance(0.5)) deliver(event::Tick{});
  for (const core::Event& event : held) deliver(event);
}

void Simulation::command(const core::Event& event) {
  if (std::holds_alternative<event::BringUp>(event) || std::holds_alternative<event::BringDown>(event))
    order_ = event;
  deliver(event);
}

// A message of a former life of a guest, or of a former start of an application.
bool Simulation::stale(const core::Event& event) const {
  return std::visit(
      [this](const auto& e) {
        using E = std::decay_t<decltype(e)>;
        bool old = false;
        if constexpr (requires { e.run; }) {
          old = e.run.run < journal.guest(e.run.guest).run;
        }
        if constexpr (requires {
                        e.app;
                        e.epoch;
                      } &&
                      !std::is_same_v<E, event::StartApp>) {
          // What a guest had kept of an application that is elsewhere by now is asked for by its former
          // epoch.
          bool left_over = false;
          if constexpr (std::is_same_v<E, event::AreasReleased>) left_over = journal.app(e.app).in != e.run;
          old = old || (!left_over && e.epoch < journal.app(e.app).epoch);
        }
        return old;
      },
      event);
}

void Simulation::deliver(const core::Event& event) {
  if (!daemon_) return;
  if (world.now() < world.stalled_until) return held_.push_back(event);
  if (world.trace) world.say(describe(world.setup(), event));
  if (!journal.refusing && stale(event)) {
    // What is due anyway first, so that whatever happens now is the stale message's doing.
    perform(event::Tick{});
    if (!daemon_) return;
    const std::uint64_t points = world.points;
    perform(event);
    if (world.points != points)
      checkers.violated("a stale message had an effect: " + describe(world.setup(), event));
    return;
  }
  if (std::holds_alternative<event::Tick>(event)) {
    if (world.now() - tick_second_ >= std::chrono::seconds(1)) {
      tick_second_ = world.now();
      ticks_in_second_ = 0;
    }
    if (++ticks_in_second_ > kMostTicksPerSecond)
      checkers.violated("the core waits for a time that has passed");
  }
  // What is due anyway first, here too.
  if (Checkers::of_the_host(event)) perform(event::Tick{});
  if (daemon_) perform(event);
}

void Simulation::perform(const core::Event& event) {
  ++steps_;
  checkers.hears(event);
  checkers.telling(event, daemon_->core.state());
  try {
    daemon_->engine.deliver(event);
    checkers.done();
  } catch (const DaemonDied&) {
    checkers.done();
    kill_daemon();
    restart_daemon_after(world.takes(kDaemonAway));
  }
}

bool Simulation::step() {
  if (violation() || !world.timeline.step()) return false;
  if (daemon_) checkers.check(daemon_->core.state());
  return !violation();
}

bool Simulation::run_until(const std::function<bool()>& done, Duration limit) {
  const Time end = world.now() + limit;
  while (!done()) {
    if (world.timeline.next() > end || !step()) return false;
  }
  return true;
}

bool Simulation::run_for(Duration time) {
  const Time end = world.now() + time;
  world.timeline.at(end, [] {});
  while (world.now() < end) {
    if (!step()) return false;
  }
  return true;
}

bool Simulation::run_weather(const Limits& limits) {
  const Time end = world.now() + limits.weather;
  while (world.now() < end) {
    const Duration gap = trial_random_.within(limits.trial_gap);
    if (!run_for(std::min(gap, end - world.now()))) return false;
    check_protection_somewhere();
    if (violation()) return false;
  }
  return true;
}

void Simulation::run(const Limits& limits) {
  start_daemon();
  command(event::BringUp{});
  nemesis.begin();
  if (!run_weather(limits)) return;
  nemesis.call_off();
  world.shape.odds = Odds{};
  world.say("the weather is calm");
  if (!daemon_) run_until([this] { return daemon_ != nullptr; }, limits.calm);
  if (!daemon_) return;
  command(event::BringUp{});
  const Time since = world.now();
  std::string why = not_whole();
  while (!why.empty()) {
    if (!run_for(std::chrono::milliseconds(500))) return;
    revive_failed_apps();
    why = not_whole();
    if (world.now() - since > limits.calm) {
      checkers.violated("the system does not recover: " + why + beliefs());
      return;
    }
  }
  world.say("everything is whole");
  for (const Vm& vm : world.vms) check_protection(vm.run.guest, FaultName::panic);
  if (violation()) return;
  command(event::BringDown{});
  const Time down_since = world.now();
  while (!not_down().empty()) {
    if (!run_for(std::chrono::milliseconds(500))) return;
    if (world.now() - down_since > limits.down) {
      checkers.violated("the system does not go down: " + not_down());
      return;
    }
  }
}

// For a person who looks for the reason: why the core thinks that it has to wait.
std::string Simulation::beliefs() const {
  std::string text;
  if (!daemon_) return text;
  for (const core::Application& app : daemon_->core.state().apps) {
    if (const auto* moving = app.moving()) {
      text += "; " + world.setup().app(app.id).name + " " + core::move_step_name(moving->move.step);
      if (const auto* choosing = app.in_step<core::move_step::Choosing>())
        text += ": " + choosing->why_not_yet;
    }
  }
  return text;
}

// The operator's daily work.
void Simulation::revive_failed_apps() {
  if (daemon_) {
    for (const core::Application& app : daemon_->core.state().apps) {
      const auto* stopping = app.in_step<core::move_step::Stopping>();
      if (stopping == nullptr || !stopping->overdue || world.setup().app(app.id).rehearses) continue;
      command(event::Switchover{app.id, {}, true});
      break;
    }
  }
  for (const core::AppRecord& app : journal.apps()) {
    const bool held_back = world.setup().app(app.app).flap_window > kShortFlapWindow && daemon_ &&
                           core::is_held_back(daemon_->core.state(), daemon_->core.state().app(app.app));
    if (app.state == core::AppDurable::failed || app.state == core::AppDurable::idle || held_back) {
      command(event::StartApp{app.app});
    }
  }
}

}  // namespace understudy::sim

#pragma once

#include "core/core.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

// The set-up of every scenario of the core: guests and applications by name, every request answered as a
// healthy world would, except for those that a scenario holds back to answer itself.
namespace understudy::core {

using Request =
    std::variant<action::Adopt, action::AskState, action::Fence, action::Probe, action::AskStop,
                 action::AskRelease, action::Unplug, action::Scrub, action::AskNeed, action::Plug,
                 action::AskEngage, action::AskStart, action::AnswerGrowth, action::Route, action::PlugVcpus,
                 action::UnplugVcpus, action::Dump, action::Discard, action::Launch>;

inline GuestSetup guest_setup(const std::string& name) {
  GuestSetup guest;
  guest.name = name;
  guest.base_bytes = 128_MiB;
  guest.overhead_bytes = 96_MiB;
  guest.slots = 32;
  guest.boot_limit = std::chrono::seconds(20);
  guest.heartbeat_limit = std::chrono::milliseconds(500);
  guest.hang_confirm = std::chrono::milliseconds(300);
  guest.silent_agent_limit = std::chrono::seconds(15);
  return guest;
}

inline AppSetup app_setup(const std::string& name, std::vector<GuestId> guests) {
  AppSetup app;
  app.name = name;
  app.hot_standby = guests.size() > 1;
  app.guests = std::move(guests);
  app.desired_bytes = app.minimum_bytes = app.maximum_bytes = 500_MiB;
  app.start_limit = std::chrono::seconds(10);
  app.stop_limit = std::chrono::seconds(5);
  app.release_limit = std::chrono::seconds(3);
  app.has_address = true;
  app.flap_takeovers = 0;
  return app;
}

// Guests alpha, beta, gamma; applications db, web, queue, each hot standby on all guests in that order, four
// areas each, and just enough areas for all.
inline Setup plain_setup(std::size_t guests = 2, std::size_t apps = 1) {
  static const char* const kGuests[] = {"alpha", "beta", "gamma"};
  static const char* const kApps[] = {"db", "web", "queue"};
  Setup setup;
  std::vector<GuestId> ids;
  for (std::uint32_t i = 0; i < guests; ++i) {
    setup.guests.push_back(guest_setup(kGuests[i]));
    ids.push_back(GuestId{i});
  }
  for (std::size_t i = 0; i < apps; ++i) setup.apps.push_back(app_setup(kApps[i], ids));
  setup.pool.area_count = static_cast<std::uint32_t>(4 * apps);
  return setup;
}

class Stage {
 public:
  explicit Stage(Setup setup = plain_setup()) : core(setup), setup_(std::move(setup)) {}

  Core core;
  Time now{};
  Outputs out;                                                // everything since forget()
  std::set<std::string> dead_kernels;                         // guests that answer no probe
  std::deque<Request> waiting;                                // not answered yet
  Bytes spare_bytes = 36_MiB;                                 // MemAvailable of every guest
  std::string image = "image 1";                              // what guests boot
  std::function<void(const Event&, const Outputs&)> on_step;  // empty: nobody looks on

  // ---- names ----
  [[nodiscard]] GuestId guest(const std::string& name) const {
    for (std::uint32_t i = 0; i < setup_.guests.size(); ++i) {
      if (setup_.guests[i].name == name) return GuestId{i};
    }
    throw std::invalid_argument(name);
  }
  [[nodiscard]] AppId app(const std::string& name) const {
    for (std::uint32_t i = 0; i < setup_.apps.size(); ++i) {
      if (setup_.apps[i].name == name) return AppId{i};
    }
    throw std::invalid_argument(name);
  }
  [[nodiscard]] GuestRun run(const std::string& name) const {
    return core.state().guest(guest(name)).current();
  }
  [[nodiscard]] Epoch epoch(const std::string& name) const { return core.state().app(app(name)).epoch; }
  [[nodiscard]] const Setup& setup() const { return setup_; }

  // ---- what the core believes, in words ----
  // "serving on alpha", "starting on beta", "waiting", "idle", "failed".
  [[nodiscard]] std::string where(const std::string& name) const {
    const Application& application = core.state().app(app(name));
    std::string text = "idle";
    if (application.serving() != nullptr) text = "serving";
    if (const auto* moving = application.moving()) text = move_step_name(moving->move.step);
    if (std::holds_alternative<app_state::Failed>(application.state)) text = "failed";
    const auto place = application.place();
    return place ? text + " on " + setup_.guest(place->guest).name : text;
  }
  [[nodiscard]] std::string is(const std::string& name) const {
    return guest_state_name(core.state().guest(guest(name)).state);
  }
  [[nodiscard]] std::size_t areas(AreaState state) const {
    std::size_t count = 0;
    for (const Area& area : core.state().table.areas()) count += area.state == state ? 1 : 0;
    return count;
  }
  [[nodiscard]] std::size_t areas_in(const std::string& name) const {
    return core.state().table.count_in(run(name));
  }
  template <class Action>
  [[nodiscard]] const std::vector<Action>& asked() const {
    if constexpr (std::is_same_v<Action, action::Fence>) return out.fence;
    if constexpr (std::is_same_v<Action, action::Withdraw>) return out.withdraw;
    if constexpr (std::is_same_v<Action, action::AskStop>) return out.stop;
    if constexpr (std::is_same_v<Action, action::AskRelease>) return out.release;
    if constexpr (std::is_same_v<Action, action::Unplug>) return out.unplug;
    if constexpr (std::is_same_v<Action, action::Scrub>) return out.scrub;
    if constexpr (std::is_same_v<Action, action::AskNeed>) return out.need;
    if constexpr (std::is_same_v<Action, action::Plug>) return out.plug;
    if constexpr (std::is_same_v<Action, action::AskEngage>) return out.engage;
    if constexpr (std::is_same_v<Action, action::AnswerGrowth>) return out.growth;
    if constexpr (std::is_same_v<Action, action::AskStart>) return out.start;
    if constexpr (std::is_same_v<Action, action::Route>) return out.route;
    if constexpr (std::is_same_v<Action, action::PlugVcpus>) return out.plug_vcpus;
    if constexpr (std::is_same_v<Action, action::UnplugVcpus>) return out.unplug_vcpus;
    if constexpr (std::is_same_v<Action, action::Probe>) return out.probe;
    if constexpr (std::is_same_v<Action, action::Discard>) return out.discard;
    if constexpr (std::is_same_v<Action, action::Launch>) return out.launch;
    if constexpr (std::is_same_v<Action, action::Adopt>) return out.adopt;
    if constexpr (std::is_same_v<Action, action::AskPrepare>) return out.prepare;
  }
  [[nodiscard]] bool noted(const std::string& kind) const {
    return std::any_of(out.notices.begin(), out.notices.end(),
                       [&](const Notice& n) { return n.kind == kind; });
  }

  // ---- making things happen ----
  void forget() { out = Outputs{}; }
  // One event; its requests wait to be answered.
  void give(const Event& event) {
    now += std::chrono::milliseconds(1);
    Outputs step = core.step(now, event);
    if (on_step) on_step(event, step);
    take(std::move(step));
  }
  // From now on requests of this kind are not answered by settle().
  template <class Action>
  void hold() {
    held_.push_back(Request(Action{}).index());
  }
  void hold_nothing() { held_.clear(); }
  // Answers everything that is asked as a healthy world does, until nothing is asked but what is held.
  void settle() {
    for (std::size_t i = 0; i < waiting.size();) {
      if (std::find(held_.begin(), held_.end(), waiting[i].index()) != held_.end()) {
        ++i;
        continue;
      }
      const Request request = waiting[i];
      waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
      std::visit([this](const auto& action) { answer(action); }, request);
      i = 0;
    }
  }
  // The oldest request of this kind that waits, taken out of the queue.
  template <class Action>
  Action take_request() {
    const auto found = std::find_if(waiting.begin(), waiting.end(),
                                    [](const Request& r) { return std::holds_alternative<Action>(r); });
    if (found == waiting.end()) {
      ADD_FAILURE() << "nothing of that kind was asked";
      return {};
    }
    Action action = std::get<Action>(*found);
    waiting.erase(found);
    return action;
  }
  template <class Action>
  [[nodiscard]] bool waits() const {
    return std::any_of(waiting.begin(), waiting.end(),
                       [](const Request& r) { return std::holds_alternative<Action>(r); });
  }
  // Time passes: every deadline is met with a Tick, the agents of `silent` say nothing, all others beat.
  void pass(Duration time, const std::vector<std::string>& silent = {}) {
    const Time end = now + time;
    while (now < end) {
      const Time beat = now + std::chrono::milliseconds(100);
      const auto deadline = core.next_deadline();
      now = std::min(end,
                     std::max(now + std::chrono::microseconds(1), std::min(beat, deadline.value_or(beat))));
      for (const Guest& g : core.state().guests) {
        const std::string& name = setup_.guest(g.id).name;
        if (g.believed_up() && std::find(silent.begin(), silent.end(), name) == silent.end()) {
          take(core.step(now, event::AgentBeat{g.current(), memory(g.current())}));
        }
      }
      take(core.step(now, event::Tick{}));
      settle();
    }
  }
  // Everything up and serving.
  Stage& up() {
    give(event::BringUp{});
    settle();
    forget();
    return *this;
  }

  [[nodiscard]] MemoryReport memory(GuestRun run) const {
    Bytes total = setup_.guest(run.guest).base_bytes;
    for (const Area& area : core.state().table.areas()) total += area.in == run ? 126_MiB : 0;
    return {total, spare_bytes};
  }

 private:
  void take(Outputs step) {
    queue(step.adopt);
    queue(step.state);
    queue(step.fence);
    queue(step.stop);
    queue(step.release);
    queue(step.unplug);
    queue(step.scrub);
    queue(step.need);
    queue(step.plug);
    queue(step.engage);
    queue(step.growth);
    queue(step.start);
    queue(step.route);
    queue(step.plug_vcpus);
    queue(step.unplug_vcpus);
    queue(step.dump);
    queue(step.discard);
    queue(step.launch);
    queue(step.probe);
    append(out.journal, step.journal);
    append(out.withdraw, step.withdraw);
    append(out.adopt, step.adopt);
    append(out.fence, step.fence);
    append(out.state, step.state);
    append(out.stop, step.stop);
    append(out.release, step.release);
    append(out.unplug, step.unplug);
    append(out.scrub, step.scrub);
    append(out.need, step.need);
    append(out.plug, step.plug);
    append(out.engage, step.engage);
    append(out.growth, step.growth);
    append(out.start, step.start);
    append(out.route, step.route);
    append(out.probe, step.probe);
    append(out.plug_vcpus, step.plug_vcpus);
    append(out.unplug_vcpus, step.unplug_vcpus);
    append(out.dump, step.dump);
    append(out.discard, step.discard);
    append(out.launch, step.launch);
    append(out.prepare, step.prepare);
    append(out.notices, step.notices);
    append(out.reports, step.reports);
  }
  template <class T>
  void queue(const std::vector<T>& actions) {
    for (const T& action : actions) waiting.push_back(action);
  }
  template <class T>
  static void append(std::vector<T>& to, std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  void answer(const action::Adopt& a) { give(event::GuestExited{a.run, "there is no such process"}); }
  void answer(const action::AskState& a) { give(event::AppsStated{a.run, {}}); }
  void answer(const action::Fence& a) { give(event::GuestFenced{a.run, "its vCPUs are stopped"}); }
  void answer(const action::Probe& a) {
    const bool dead = dead_kernels.count(setup_.guest(a.run.guest).name) > 0;
    give(event::ProbeAnswer{a.run, !dead, dead ? "no answer" : ""});
  }
  void answer(const action::AskStop& a) { give(event::AppStopped{a.run, a.app, a.epoch}); }
  void answer(const action::AskRelease& a) { give(event::AreasReleased{a.run, a.app, a.epoch, a.areas, ""}); }
  void answer(const action::Unplug& a) { give(event::AreaUnplugged{a.run, a.area}); }
  void answer(const action::Scrub& a) { give(event::AreaScrubbed{a.area}); }
  void answer(const action::AskNeed& a) {
    const Bytes available = spare_bytes - std::min(spare_bytes, 32_MiB);
    const Bytes required = a.memory_bytes + 4_MiB;
    give(event::NeedStated{a.run, a.app, a.epoch,
                           required > available ? (required - available) * 64 / 63 : 0});
  }
  void answer(const action::Plug& a) {
    give(event::AreaPlugged{a.run, a.area, 1_GiB + a.area.value * 128_MiB});
  }
  void answer(const action::AskEngage& a) { give(event::AreasEngaged{a.run, a.app, a.epoch, memory(a.run)}); }
  void answer(const action::AskStart& a) { give(event::AppServing{a.run, a.app, a.epoch, 4_MiB, a.areas}); }
  void answer(const action::AnswerGrowth& a) {
    give(event::AppServing{a.run, a.app, a.epoch, 4_MiB, a.areas});
  }
  void answer(const action::Route& a) { give(event::AddressRouted{a.app, a.run}); }
  void answer(const action::PlugVcpus& a) { give(event::VcpusPlugged{a.run, a.app, a.count, ""}); }
  void answer(const action::UnplugVcpus& a) { give(event::VcpusUnplugged{a.run, a.app, 0, ""}); }
  void answer(const action::Dump& a) { give(event::DumpDone{a.run, "dump", ""}); }
  void answer(const action::Discard& a) { give(event::GuestGone{a.run}); }
  void answer(const action::Launch& a) {
    give(event::GuestLaunched{a.run, image});
    give(event::AgentGreeted{a.run, memory(a.run)});
  }

  Setup setup_;
  std::vector<std::size_t> held_;
};

}  // namespace understudy::core

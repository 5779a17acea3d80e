#pragma once

#include "engine/ports.hpp"
#include "sim/checkers.hpp"
#include "sim/world.hpp"

namespace understudy::sim {

// What runs in it, as its agent says when it speaks the truth.
[[nodiscard]] core::event::AppsStated stated_by(const Vm& vm);

// The agents in the guests. They keep to docs/agent-protocol.md: what is asked of a former epoch is refused,
// what is so already is answered as done.
class SimAgents final : public engine::AgentLink {
 public:
  SimAgents(World& world, Checkers& checkers) : world_(world), checkers_(checkers) {}

  void ask_state(const core::action::AskState& request) override;
  void ask_need(const core::action::AskNeed& request) override;
  void ask_engage(const core::action::AskEngage& request) override;
  void ask_start(const core::action::AskStart& request) override;
  void ask_stop(const core::action::AskStop& request) override;
  void ask_release(const core::action::AskRelease& request) override;
  void answer_growth(const core::action::AnswerGrowth& answer) override;
  void ask_prepare(const core::action::AskPrepare& request) override;

 private:
  // The request's way into the guest: in order, and only if somebody is there to read it.
  void send(core::GuestRun run, std::function<void()> handle);
  void engage(const core::action::AskEngage& request);
  void start(const core::action::AskStart& request);
  void started(core::GuestRun run, core::AppId app, core::Epoch epoch);
  void release(const core::action::AskRelease& request);
  void restart(core::GuestRun run, core::AppId app, core::Epoch epoch);
  [[nodiscard]] AppInside& inside(core::GuestRun run, core::AppId app) {
    return world_.vm(run.guest).apps[app.value];
  }

  World& world_;
  Checkers& checkers_;
};

}  // namespace understudy::sim

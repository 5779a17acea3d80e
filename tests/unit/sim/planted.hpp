#pragma once

#include "sim/simulation.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

// What the tests of planted bugs have in common.
namespace understudy::sim::test {

// Ports that pass everything on; each planted bug overrides one request.
struct PassHypervisor : engine::Hypervisor {
  explicit PassHypervisor(engine::Hypervisor& hypervisor) : next(hypervisor) {}
  void launch(core::GuestRun run) override { next.launch(run); }
  void adopt(core::GuestRun run) override { next.adopt(run); }
  void fence(core::GuestRun run) override { next.fence(run); }
  void probe(core::GuestRun run) override { next.probe(run); }
  void plug(core::GuestRun run, std::span<const core::AreaId> areas) override { next.plug(run, areas); }
  void unplug(core::GuestRun run, std::span<const core::AreaId> areas) override { next.unplug(run, areas); }
  void plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) override {
    next.plug_vcpus(run, app, count);
  }
  void unplug_vcpus(core::GuestRun run, core::AppId app) override { next.unplug_vcpus(run, app); }
  void dump(core::GuestRun run) override { next.dump(run); }
  void discard(core::GuestRun run) override { next.discard(run); }
  engine::Hypervisor& next;
};

struct PassAgents : engine::AgentLink {
  explicit PassAgents(engine::AgentLink& agents) : next(agents) {}
  void ask_state(const core::action::AskState& a) override { next.ask_state(a); }
  void ask_need(const core::action::AskNeed& a) override { next.ask_need(a); }
  void ask_engage(const core::action::AskEngage& a) override { next.ask_engage(a); }
  void ask_start(const core::action::AskStart& a) override { next.ask_start(a); }
  void ask_stop(const core::action::AskStop& a) override { next.ask_stop(a); }
  void ask_release(const core::action::AskRelease& a) override { next.ask_release(a); }
  void answer_growth(const core::action::AnswerGrowth& a) override { next.answer_growth(a); }
  void ask_prepare(const core::action::AskPrepare& a) override { next.ask_prepare(a); }
  engine::AgentLink& next;
};

struct PassGate : engine::AddressGate {
  explicit PassGate(engine::AddressGate& gate) : next(gate) {}
  void withdraw(core::AppId app) override { next.withdraw(app); }
  void route(core::AppId app, core::GuestRun run) override { next.route(app, run); }
  engine::AddressGate& next;
};

struct GateThatSkipsWithdrawals : PassGate {
  using PassGate::PassGate;
  void withdraw(core::AppId) override {}
};

// A simulation whose ports are wrapped, and the world that the wrappers meddle with.
class Planted : public ::testing::Test {
 protected:
  void make(Shape shape, Simulation::Wrap wrap) {
    simulation_ = std::make_unique<Simulation>(std::move(shape), 7, std::move(wrap));
  }
  World& world() { return simulation_->world; }

  // Up, then a panic of the first guest's kernel, then whatever comes of it.
  void take_over(FaultName fault = FaultName::panic) {
    simulation_->start_daemon();
    simulation_->command(core::event::BringUp{});
    if (!simulation_->run_until([&] { return simulation_->observer.first_starts == apps(); },
                                std::chrono::seconds(60))) {
      return;
    }
    simulation_->nemesis.cause(fault, core::GuestId{0}, core::AppId{0});
    simulation_->run_for(std::chrono::seconds(30));
  }
  std::size_t apps() { return world().setup().apps.size(); }
  [[nodiscard]] std::string violation() const {
    return simulation_->violation() ? simulation_->violation()->what : "nothing was noticed";
  }
  void expect_violation(const std::string& part) {
    EXPECT_NE(violation().find(part), std::string::npos) << violation();
  }

  std::unique_ptr<engine::Hypervisor> hypervisor_;
  std::unique_ptr<engine::AgentLink> agents_;
  std::unique_ptr<engine::Journal> journal_;
  std::unique_ptr<engine::AddressGate> gate_;
  std::unique_ptr<engine::Pool> pool_;
  std::unique_ptr<Simulation> simulation_;
};

}  // namespace understudy::sim::test

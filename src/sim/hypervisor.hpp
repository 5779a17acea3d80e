#pragma once

#include "engine/ports.hpp"
#include "sim/checkers.hpp"
#include "sim/world.hpp"

namespace understudy::sim {

inline constexpr const char* kRefused = "too many open files";
inline constexpr const char* kNoFreeSlot = "no free slot";

// QEMU as it behaves: requests to a stopped process wait, a dead one never answers, an unplug needs a guest
// that co-operates, and some of everything fails.
class SimHypervisor final : public engine::Hypervisor {
 public:
  SimHypervisor(World& world, Checkers& checkers) : world_(world), checkers_(checkers) {}

  void launch(core::GuestRun run) override;
  void adopt(core::GuestRun run) override;
  void fence(core::GuestRun run) override;
  void probe(core::GuestRun run) override;
  void plug(core::GuestRun run, std::span<const core::AreaId> areas) override;
  void unplug(core::GuestRun run, std::span<const core::AreaId> areas) override;
  void dump(core::GuestRun run) override;
  void plug_vcpus(core::GuestRun run, core::AppId app, std::uint32_t count) override;
  void unplug_vcpus(core::GuestRun run, core::AppId app) override;
  void discard(core::GuestRun run) override;

  // From now on and as long as this daemon lives, it looks at one guest after the other.
  void begin_looks();

 private:
  void plug_one(core::GuestRun run, core::AreaId area);
  void unplug_one(core::GuestRun run, core::AreaId area);
  void unplug_vcpus_now(core::GuestRun run, core::AppId app);
  void stop(Vm& vm);
  void look_at(std::uint32_t guest, std::uint32_t life);

  World& world_;
  Checkers& checkers_;
};

}  // namespace understudy::sim

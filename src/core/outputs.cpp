#include "core/outputs.hpp"

#include <algorithm>

namespace understudy::core {

namespace {

void take_back_from(Outputs& earlier, GuestRun run) {
  const auto there = [&](const auto& action) { return action.run == run; };
  std::erase_if(earlier.release, there);
  std::erase_if(earlier.unplug, there);
  std::erase_if(earlier.need, there);
  std::erase_if(earlier.plug, there);
  std::erase_if(earlier.engage, there);
  std::erase_if(earlier.growth, there);
  std::erase_if(earlier.start, there);
  std::erase_if(earlier.route, there);
  std::erase_if(earlier.plug_vcpus, there);
  std::erase_if(earlier.unplug_vcpus, there);
  std::erase_if(earlier.launch, there);
}

// An area that is past being let go of: the agent answered what a former daemon had asked.
void take_back_release(Outputs& earlier, const AreaRecord& record) {
  for (action::AskRelease& release : earlier.release) {
    if (record.state == AreaState::releasing && record.in == release.run) continue;
    std::erase(release.areas, record.area);
  }
  std::erase_if(earlier.release, [](const action::AskRelease& release) { return release.areas.empty(); });
}

// An area that its guest has let go of meanwhile, by itself.
void take_back_unplug(Outputs& earlier, const AreaRecord& record) {
  std::erase_if(earlier.unplug, [&](const action::Unplug& unplug) {
    const bool still = record.state == AreaState::unplugging && record.in == unplug.run;
    return unplug.area == record.area && !still;
  });
}

}  // namespace

void take_back(Outputs& earlier, const Outputs& later) {
  for (const action::Fence& fence : later.fence) take_back_from(earlier, fence.run);
  for (const Record& record : later.journal) {
    if (const auto* app = std::get_if<AppRecord>(&record);
        app != nullptr && app->state != AppDurable::moving) {
      std::erase_if(earlier.start, [&](const action::AskStart& start) { return start.app == app->app; });
    }
    if (const auto* area = std::get_if<AreaRecord>(&record)) {
      take_back_release(earlier, *area);
      take_back_unplug(earlier, *area);
    }
    const auto* guest = std::get_if<GuestRecord>(&record);
    if (guest != nullptr && guest->state != GuestDurable::up)
      take_back_from(earlier, {guest->guest, guest->run});
  }
  for (const action::AskStop& stop : later.stop) {
    const auto of_it = [&](const auto& action) { return action.app == stop.app && action.run == stop.run; };
    std::erase_if(earlier.growth, of_it);
    std::erase_if(earlier.start, of_it);
  }
  for (const action::Withdraw& withdraw : later.withdraw) {
    std::erase_if(earlier.route, [&](const action::Route& route) { return route.app == withdraw.app; });
  }
}

}  // namespace understudy::core

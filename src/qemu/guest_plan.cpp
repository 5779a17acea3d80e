#include "qemu/guest_plan.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace understudy::qemu {

namespace {

bool contains(const std::vector<std::uint16_t>& ports, std::uint16_t port) {
  return std::find(ports.begin(), ports.end(), port) != ports.end();
}

}  // namespace

std::vector<GuestPlan> guest_plans(const config::Config& config) {
  std::vector<GuestPlan> plans;
  for (std::uint32_t id = 0; id < config.guests.size(); ++id) {
    const config::Guest& guest = config.guests[id];
    GuestPlan plan;
    plan.name = guest.name;
    plan.base_bytes = guest.base_bytes;
    plan.area_bytes = config.pool.area_bytes;
    plan.slots = guest.slots;
    plan.vcpus = guest.vcpus;
    plan.image = guest.image;
    plan.trust_domain = guest.trust_domain;
    for (const config::Application& app : config.applications) {
      const bool listed =
          std::find(app.guests.begin(), app.guests.end(), core::GuestId{id}) != app.guests.end();
      if (listed) plan.more_vcpus += app.vcpus;
      if (!listed || !app.address) continue;
      plan.app_ports[app.name] = app.address->guest_port;
      if (!contains(plan.ports, app.address->guest_port)) plan.ports.push_back(app.address->guest_port);
    }
    // Ports below 1024 are closed to applications, which do not run as root: the first that none is meant to
    // use.
    while (contains(plan.ports, plan.closed_port)) ++plan.closed_port;
    plans.push_back(std::move(plan));
  }
  return plans;
}

std::string image_stamp(const config::Image& image) {
  std::string stamp;
  for (const auto& file : {image.kernel, image.initramfs, image.disk}) {
    if (file.empty()) continue;
    struct stat now {};
    if (::stat(file.c_str(), &now) != 0) return "";
    stamp += (stamp.empty() ? "" : "-") + std::to_string(now.st_size) + "." +
             std::to_string(now.st_mtim.tv_sec) + "." + std::to_string(now.st_mtim.tv_nsec);
  }
  return stamp;
}

}  // namespace understudy::qemu

#pragma once

#include "config/config.hpp"
#include "qemu/spawn.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace understudy::qemu {

// What QEMU has to know of one guest of the configuration.
struct GuestPlan {
  std::string name;
  Bytes base_bytes = 0;
  Bytes area_bytes = 0;
  std::uint32_t slots = 0;
  std::uint32_t vcpus = 1;
  std::uint32_t more_vcpus = 0;  // that the applications it may serve could need together
  config::Image image;
  std::string trust_domain = "default";
  // Of the applications that it may serve: the port of each one's address, by its name.
  std::map<std::string, std::uint16_t> app_ports;
  std::vector<std::uint16_t> ports;  // the same without repetitions
  // A port on which nothing in the guest listens. Its kernel answers a connection to it with a reset, all by
  // itself, which tells whether the kernel lives.
  std::uint16_t closed_port = 1;
  // What its agent is told of its applications (the line of the welcome message); of no meaning here, and
  // kept with the run.
  std::string told = {};
  std::optional<HostUser> user = std::nullopt;  // of its own; none: it runs as the daemon's
};

// One for every guest, under the same ids.
[[nodiscard]] std::vector<GuestPlan> guest_plans(const config::Config& config);

// Tells one build of an image from another: size and time of change of each of its files. Empty: one of them
// cannot be looked at.
[[nodiscard]] std::string image_stamp(const config::Image& image);

}  // namespace understudy::qemu

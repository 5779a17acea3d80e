#pragma once

#include "base/units.hpp"

#include <cstdint>
#include <string>

namespace understudy::core {

// What a guest's QEMU is started with, as far as decisions depend on it. It belongs to the run: as long as
// that lives it stays so, whatever a configuration says by then.
struct Definition {
  Bytes base_bytes = 0;     // what it boots with
  std::uint32_t slots = 0;  // areas that can be plugged at once
  std::uint32_t vcpus = 1;  // what it boots with
  std::string trust_domain = "default";
  bool operator==(const Definition&) const = default;
};

// One thing in which a run of an older definition differs from the configuration, in words for a person.
struct Difference {
  std::string what;  // "slots", "forwarded ports", "accelerator", ...
  std::string has;   // what the run was started with
  std::string file;  // what its next run will be started with
  bool operator==(const Difference&) const = default;
};

}  // namespace understudy::core

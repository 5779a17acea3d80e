#pragma once

#include "core/view.hpp"

#include <vector>

#include <boost/json.hpp>

namespace understudy::control {

// What the VMM measured of a guest on the host, beside what the core knows.
struct HostUse {
  Bytes host_bytes = 0;  // proportional set size of its QEMU
};

struct HostView {
  Time now{};
  std::string accelerator;  // "kvm" or "tcg"
  std::string accelerator_reason;
  std::vector<HostUse> guests;  // by guest index
  std::vector<core::VmmUse> vmm;
};

// The documents that scripts rely on; fields are only ever added.
[[nodiscard]] boost::json::object status_json(const core::State&, const HostView&);
[[nodiscard]] boost::json::object table_json(const core::State&, const HostView&);
[[nodiscard]] boost::json::object report_json(const core::State&, const core::TakeoverReport&);

}  // namespace understudy::control

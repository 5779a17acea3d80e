#pragma once

#include <cstdio>
#include <string>

namespace understudy::gateway {

// A line for a person, on standard error: the gateway's log file when the daemon started it.
inline void say(const std::string& text) {
  std::fprintf(stderr, "gateway: %s\n", text.c_str());
}

}  // namespace understudy::gateway

#include "agent/os.hpp"

#include <cstdio>

namespace understudy::agent {

void say(const std::string& text) {
  std::fprintf(stderr, "understudy-agent: %s\n", text.c_str());
}

}  // namespace understudy::agent

#pragma once

#include "base/kernel_files.hpp"

#include <string>

namespace understudy::agent {

// A line on standard error: the console, when the agent is the guest's init.
void say(const std::string& text);

}  // namespace understudy::agent

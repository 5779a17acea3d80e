#pragma once

namespace understudy::agent {

// What an init does before anything else runs, for a guest whose image holds nothing but this agent: kernel
// file systems, modules, the application disk, the network. What fails is said on the console, and the rest
// is done.
void early_init();

}  // namespace understudy::agent

#include "daemon/host_use.hpp"

#include <unistd.h>

#include <fstream>
#include <string>

namespace understudy::daemon {

Bytes process_bytes(pid_t pid) {
  if (pid <= 0) return 0;
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::string word;
  while (file >> word) {
    Bytes kib = 0;
    if (word == "Pss:" && file >> kib) return kib * 1_KiB;
  }
  return 0;
}

Bytes own_bytes() {
  return process_bytes(::getpid());
}

}  // namespace understudy::daemon

#include "agent/drills.hpp"

#include "base/kernel_files.hpp"

namespace understudy::agent {

Result<void> panic_os() {
  if (auto enabled = write_file("/proc/sys/kernel/sysrq", "1"); !enabled) return enabled;
  return write_file("/proc/sysrq-trigger", "c");
}

}  // namespace understudy::agent

#include "agent/standing.hpp"

#include "base/kernel_files.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

namespace understudy::agent {

std::vector<std::string> take_standing() {
  std::vector<std::string> missing;
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) missing.push_back(errno_text("its memory is not locked"));
  if (auto done = write_file("/proc/self/oom_score_adj", "-1000"); !done) {
    missing.push_back("it is not spared when memory runs out: " + done.error().message);
  }
  // The lowest real-time priority runs before everything ordinary. The kernel's throttle (95 % of a second)
  // keeps even a mistake of ours from taking the CPU for ever.
  sched_param parameters{};
  parameters.sched_priority = ::sched_get_priority_min(SCHED_FIFO);
  if (::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameters) != 0) {
    missing.push_back(errno_text("it has ordinary scheduling priority"));
  }
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) missing.push_back(errno_text("orphans are not its children"));
  return missing;
}

}  // namespace understudy::agent

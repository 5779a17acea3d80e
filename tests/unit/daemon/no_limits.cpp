// What sounds like a limit and is none.
#include "limits_table.hpp"

namespace understudy::documents {

std::vector<NoLimit> no_limits() {
  const char* const shown = "how much of a text is shown in a sentence";
  const char* const own = "of a file or a word that Understudy itself or the kernel writes";
  const char* const form = "a form of the system's";
  const char* const pace = "a pace, not an amount";
  return {
      {"agent/fault_policy.cpp", "kMostDoublings", pace},
      {"agent/memory_pressure.cpp", "kCrawlTimesPerSecond", pace},
      {"agent/memory_blocks.cpp", "kMaxBlocksOfAnArea", own},
      {"agent/releaser.hpp", "kLargestPartForEnding", pace},
      {"agent/spawn.cpp", "kMostBytes", shown},
      {"agent/users.cpp", "kMaxId", form},
      {"base/cgroup.cpp", "kMostMountBytes", own},
      {"base/kernel_files.hpp", "kMaxKernelFileBytes", own},
      {"base/passed_descriptors.cpp", "kMostAtOnce", own},
      {"base/units.cpp", "kMost", form},
      {"base/units.cpp", "kMostQuotedBytes", shown},
      {"base/way.cpp", "kMostLinks", form},
      {"config/document.cpp", "kMostQuotedBytes", shown},
      {"config/host_check.cpp", "kLongestSocketPath", form},
      {"config/report.cpp", "kLongestQuote", shown},
      {"control/claim.cpp", "kLongestNamed", shown},
      {"control/claim.cpp", "kMostNamed", shown},
      {"control/command.cpp", "kMostQuotedBytes", shown},
      {"config/limits.hpp", "kMostId", form},
      {"config/suggest.cpp", "kLongest", shown},
      {"core/forecast.cpp", "kMostAnswersBesides", "a check of the core against itself"},
      {"core/forecast.cpp", "kMostAnswersPerArea", "a check of the core against itself"},
      {"core/measured.hpp", "kKept", "of what Understudy itself measured"},
      {"core/moves.cpp", "kLongestAvoid", pace},
      {"core/plugging.cpp", "kMostScrubs", pace},
      {"gateway/limits.hpp", "kLongestAttempt", pace},
      {"gateway/limits.hpp", "kLongestPathPause", pace},
      {"gateway/protocol.cpp", "kMost", form},
      {"hooks/hook_process.cpp", "kMostReadsAtTheEnd", pace},
      {"pool/area_file.cpp", "kMostAttributeBytes", own},
      {"pool/pool_directory.cpp", "kMostStackedMounts", own},
      {"qemu/command_line.cpp", "kMostBelowTheHole", form},
      {"qemu/console.cpp", "kMostAnswerBytes", "follows from kConsoleBytes"},
      {"qemu/console.cpp", "kMostLineBytes", shown},
      {"qemu/guest_files.cpp", "kBacklog", "of the two sockets that a QEMU is given"},
      {"qemu/guest_files.cpp", "kMostLogLineBytes", shown},
      {"qemu/guest_files.cpp", "kMostSocketPathBytes", form},
      {"qemu/json_field.hpp", "kMostQuotedBytes", shown},
      {"qemu/monitor_reply.cpp", "kMostStatusBytes", shown},
      {"qemu/proc.cpp", "kMostNameBytes", own},
      {"qemu/proc.cpp", "kMostProcBytes", own},
      {"qemu/qmp_codec.cpp", "kMostQuotedLineBytes", shown},
      {"qemu/run_definition.cpp", "kLargestBytes", own},
      {"qemu/run_definition.cpp", "kMostPorts", own},
  };
}

}  // namespace understudy::documents

#pragma once

#include "base/error.hpp"
#include "core/definition.hpp"
#include "qemu/command_line.hpp"
#include "qemu/guest_plan.hpp"
#include "qemu/marker.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What one run of a guest was started with. It is written down beside the run's sockets before its QEMU is
// started, so that a later daemon, which may have another configuration, serves the run as what it is and
// compares instead of guessing.
namespace understudy::qemu {

struct RunDefinition {
  std::uint32_t run = 0;
  GuestPlan plan;  // without its user: the kernel says who a living process is
  Accelerator accelerator = Accelerator::tcg;
  std::string image_stamp;  // empty: not known
  // Names of the applications whose numbers are in the names of vCPUs (vcpu_id), in that order. They go on
  // meaning the same under a configuration that numbers them otherwise.
  std::vector<std::string> apps;
  // False: nothing was written down, and this is what the command line of its QEMU tells. The rest is taken
  // from the configuration.
  bool recorded = true;
};

// JSON, one object. What is not whole and of the right form is nothing.
[[nodiscard]] std::string encode(const RunDefinition& definition);
[[nodiscard]] std::optional<RunDefinition> decode_definition(std::string_view text);

// Written beside and renamed over, so that it is there as a whole or not at all. Not synced: a host that
// fails takes the run with it.
[[nodiscard]] Result<void> write_definition(const std::filesystem::path& file,
                                            const RunDefinition& definition);
[[nodiscard]] std::optional<RunDefinition> read_definition(const std::filesystem::path& file);

// Of a living QEMU for which nothing was written down: base memory, slots, vCPUs, ports and accelerator of
// its command line, no trust domain, and everything else as the configuration has it.
[[nodiscard]] RunDefinition definition_of_arguments(const std::vector<std::string>& arguments,
                                                    std::uint32_t run, const GuestPlan& configured);

// Of a living QEMU of this run directory: what was written down with its run, else what its command line
// tells.
[[nodiscard]] RunDefinition definition_of_process(const FoundProcess& process);

// What decisions depend on.
[[nodiscard]] core::Definition core_definition(const GuestPlan& plan);
// In what a run differs from what the next run of the same guest will be started with.
[[nodiscard]] std::vector<core::Difference> differences(const RunDefinition& run, const RunDefinition& next);

}  // namespace understudy::qemu

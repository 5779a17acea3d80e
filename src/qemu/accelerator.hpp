#pragma once

#include "base/error.hpp"
#include "base/time.hpp"
#include "config/config.hpp"
#include "qemu/command_line.hpp"
#include "qemu/spawn.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace understudy::qemu {

inline constexpr Duration kTrialLimit = std::chrono::seconds(5);
inline constexpr const char* kKvmDevice = "/dev/kvm";

struct AcceleratorChoice {
  Accelerator accelerator = Accelerator::tcg;
  std::string reason;         // "a guest booted on it in 840 ms", "there is no /dev/kvm"
  Duration took{};            // of finding out
  std::vector<gid_t> groups;  // that a guest with a user of its own has to be in for it
  [[nodiscard]] const char* name() const { return accelerator_name(accelerator); }
};

// Decides once how guests run. automatic: TCG when /dev/kvm is missing or may not be used; else a guest is
// really booted under KVM, because a /dev/kvm that opens says little (nested virtualisation may hang or abort
// at the first real kernel), and KVM is taken when its agent says anything within the limit. Blocks for at
// most about the limit and a second, whatever happens. Asking for kvm where it cannot be opened is an error;
// asking for kvm or tcg tries nothing.
// `former`: what the guests of a former daemon run on. Nothing is tried then, not beside guests that hold the
// memory: automatic stays with it, as long as KVM can be opened where it was that.
// `trial_user`: guests have users of their own, and the trial has this one; the group of the device is added.
// `image`: what the guests run. `run_dir` exists; a guest "accelerator-trial" is made below it and removed
// again.
[[nodiscard]] Result<AcceleratorChoice> choose_accelerator(
    const Qemu& qemu, config::Accelerator wish, const config::Image& image,
    const std::filesystem::path& run_dir, Duration limit = kTrialLimit,
    const std::filesystem::path& kvm_device = kKvmDevice, std::optional<HostUser> trial_user = std::nullopt,
    std::optional<Accelerator> former = std::nullopt);

// What a former daemon's guests of these names run, or ran, on, by what was written down with their runs, or
// else by the command line of one that lives; the latest counts. Nothing: there are none.
[[nodiscard]] std::optional<Accelerator> former_accelerator(const std::filesystem::path& run_dir,
                                                            const std::vector<GuestPlan>& guests);

// How QEMU is to be called here: `program` must be found; qboot when it is installed; the sandbox when this
// QEMU has one, which it is asked (some 50 ms). The accelerator is left at TCG.
[[nodiscard]] Result<Qemu> find_qemu(const std::string& program = "qemu-system-x86_64");

}  // namespace understudy::qemu

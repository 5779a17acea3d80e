#include "qemu/command_line.hpp"

#include "qemu/console.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>

namespace understudy::qemu {

static_assert(kAreasFd == 8, "kAreasOfFd names it");

namespace {

// TCG keeps the code that it translated in a buffer and throws all of it away when that is full, perhaps in
// the middle of a takeover. Booting makes 42 MiB of it, starting a Redis
// 26 more; only what is used counts as memory.
constexpr const char* kTcg = "tcg,thread=multi,tb-size=96";
// Without rdrand, the first process that wants random numbers waits a second for the kernel to collect some.
constexpr const char* kTcgCpu = "qemu64,+rdrand";
constexpr const char* kKvmCpu = "host";

// spawn=deny and elevateprivileges=deny: a guest that breaks into QEMU cannot start or become anything else.
constexpr const char* kSandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

constexpr const char* kNoS3 = "ICH9-LPC.disable_s3=1";
constexpr const char* kNoS4 = "ICH9-LPC.disable_s4=1";

constexpr const char* kKernelArguments =
    // Errors and what is worse go to the console (console.hpp).
    "console=ttyS0 quiet "
    // Areas come online as movable memory, so that they can be taken away again, and carry their own memmap,
    // so that a small standby can take many.
    "memhp_default_state=online_movable memory_hotplug.memmap_on_memory=1 "
    // Bounce buffers are of no use here, and would be a third of a small guest's memory.
    "swiotlb=512 "
    // A kernel that is not sure of itself stops: an oops, and a panic that pvpanic cannot report yet.
    "oops=panic panic=-1 unknown_nmi_panic=1 "
    // Root in the guest is not its kernel. It also leaves out tracing, which costs 10 MiB and 0.3 s of boot.
    "lockdown=confidentiality "
    // Waiting for hardware that this machine does not have.
    "tsc=reliable no_timer_check random.trust_cpu=on cryptomgr.notests 8250.nr_uarts=1 audit=0 i8042.noaux "
    "i8042.nokbd i8042.noprobe";

std::string kernel_arguments(const Qemu& qemu) {
  // Under KVM a guest is told by KVM's own clock.
  const bool told = qemu.accelerator == Accelerator::kvm || qemu.tsc_khz == 0;
  return kKernelArguments + (told ? "" : " tsc_early_khz=" + std::to_string(qemu.tsc_khz));
}

std::string megabytes(Bytes bytes) {
  return std::to_string(bytes >> 20) + "M";
}

std::string memory_option(const GuestPlan& plan) {
  std::string option = megabytes(plan.base_bytes);
  if (plan.slots > 0)
    option += ",slots=" + std::to_string(plan.slots) +
              ",maxmem=" + megabytes(plan.base_bytes + plan.slots * plan.area_bytes);
  return option;
}

std::string vcpus_option(const GuestPlan& plan) {
  const std::string base = std::to_string(plan.vcpus);
  return plan.more_vcpus == 0 ? base : base + ",maxcpus=" + std::to_string(plan.vcpus + plan.more_vcpus);
}

std::string network_option(const GuestPlan& plan) {
  // Nothing in the guest reaches the host or the world; only these ports lead in, from the host alone. QEMU
  // chooses free host ports. Without IPv6, which nothing leads in by, what parses that is out of the guest's
  // reach.
  std::string option = "user,id=net0,restrict=on,ipv6=off";
  for (const std::uint16_t port : plan.ports) option += ",hostfwd=tcp:127.0.0.1:0-:" + std::to_string(port);
  return option + ",hostfwd=tcp:127.0.0.1:0-:" + std::to_string(plan.closed_port);
}

struct ImageNames {
  std::string kernel;
  std::string initramfs;
  std::string disk;
};

ImageNames image_names(const config::Image& image, ImageAccess access) {
  if (access == ImageAccess::by_path)
    return {image.kernel.string(), image.initramfs.string(), image.disk.string()};
  // The disk by a set of descriptors, which is used as it is; the kernel and the initramfs are opened once
  // more, because QEMU reads them with functions that know only names.
  const std::string prefix = "/proc/self/fd/";
  return {prefix + std::to_string(kKernelFd), prefix + std::to_string(kInitramfsFd), "/dev/fdset/1"};
}

std::string id_of(const char* prefix, core::AreaId area) {
  char id[32];
  std::snprintf(id, sizeof id, "%s%04u", prefix, area.value);
  return id;
}

}  // namespace

const char* accelerator_name(Accelerator accelerator) {
  switch (accelerator) {
    case Accelerator::kvm: return "KVM";
    case Accelerator::tcg: return "TCG";
  }
  return "?";
}

std::vector<std::string> command_line(const Qemu& qemu, const GuestPlan& plan, const Marker& marker,
                                      ImageAccess access) {
  const ImageNames image = image_names(plan.image, access);
  const bool kvm = qemu.accelerator == Accelerator::kvm;
  std::vector<std::string> argv{qemu.program, "-name", name_option(marker)};
  const auto add = [&argv](std::initializer_list<std::string> arguments) {
    argv.insert(argv.end(), arguments);
  };
  add({"-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=on"});
  add({"-machine", "q35", "-accel", kvm ? "kvm" : kTcg, "-cpu", kvm ? kKvmCpu : kTcgCpu});
  add({"-smp", vcpus_option(plan), "-m", memory_option(plan)});
  if (!qemu.firmware.empty()) add({"-bios", qemu.firmware.string()});
  add({"-kernel", image.kernel, "-initrd", image.initramfs, "-append", kernel_arguments(qemu)});
  if (qemu.sandbox) add({"-sandbox", kSandbox});

  add({"-chardev", "socket,id=qmp,server=on,wait=off,fd=" + std::to_string(kQmpFd), "-mon",
       "chardev=qmp,mode=control"});
  // No suspension to memory or disk: its vCPUs would not run then, and would again all by themselves.
  add({"-global", kNoS3, "-global", kNoS4});
  // A guest that stops by itself stays as it is, for the fence to verify and for a look at it.
  add({"-device", "pvpanic-pci", "-device", "vmcoreinfo", "-action", "panic=pause", "-action",
       "reboot=shutdown", "-action", "shutdown=pause"});
  add({"-device", "virtio-serial-pci,max_ports=2", "-chardev",
       "socket,id=agent,server=on,wait=off,fd=" + std::to_string(kAgentFd), "-device",
       std::string("virtserialport,chardev=agent,name=") + kAgentPort});
  // A ring takes whatever comes and never makes its writer wait, nor does anybody have to read it.
  add({"-chardev", std::string("ringbuf,id=") + kConsole + ",size=" + std::to_string(kConsoleBytes),
       "-device", std::string("isa-serial,chardev=") + kConsole});
  if (!plan.image.disk.empty()) {
    if (access == ImageAccess::by_descriptor) add({"-add-fd", "fd=" + std::to_string(kDiskFd) + ",set=1"});
    // The same file under every guest: nobody may write to it.
    add({"-blockdev",
         "driver=raw,node-name=apps,read-only=on,file.driver=file,file.read-only=on,file.filename=" +
             escape_commas(image.disk),
         "-device", "virtio-blk-pci,drive=apps"});
  }
  add({"-netdev", network_option(plan), "-device", "virtio-net-pci,netdev=net0,romfile="});
  return argv;
}

bool offers_suspend(const std::vector<std::string>& argv) {
  const auto has = [&argv](const char* argument) {
    return std::find(argv.begin(), argv.end(), argument) != argv.end();
  };
  return !has(kNoS3) || !has(kNoS4);
}

// The q35 machine: what does not fit below its PCI hole goes on at 4 GiB (hw/i386/pc_q35.c, pc_q35_init).
std::uint64_t end_of_base(Bytes base_bytes) {
  constexpr Bytes kMostBelowTheHole = 0xb0000000;
  constexpr Bytes kBelowTheHole = 2_GiB;  // of more than that
  if (base_bytes < kMostBelowTheHole) return base_bytes;
  return 4_GiB + (base_bytes - kBelowTheHole);
}

std::string backend_id(core::AreaId area) {
  return id_of("mem-", area);
}
std::string dimm_id(core::AreaId area) {
  return id_of("dimm-", area);
}

std::string vcpu_id(core::AppId app, std::uint32_t index) {
  return "vcpu-" + std::to_string(app.value) + "-" + std::to_string(index);
}

std::optional<VcpuName> vcpu_of_id(std::string_view id) {
  constexpr std::string_view kPrefix = "vcpu-";
  if (!id.starts_with(kPrefix)) return std::nullopt;
  const char* const last = id.data() + id.size();
  VcpuName name;
  const auto [dash, first_code] = std::from_chars(id.data() + kPrefix.size(), last, name.app.value);
  if (first_code != std::errc() || dash == last || *dash != '-') return std::nullopt;
  const auto [end, code] = std::from_chars(dash + 1, last, name.index);
  // Only the one way in which we write it.
  if (code != std::errc() || end != last || vcpu_id(name.app, name.index) != id) return std::nullopt;
  return name;
}

std::optional<core::AreaId> area_of_id(std::string_view id, std::string_view prefix) {
  if (!id.starts_with(prefix)) return std::nullopt;
  id.remove_prefix(prefix.size());
  core::AreaId area;
  const auto [end, code] = std::from_chars(id.data(), id.data() + id.size(), area.value);
  if (id.size() < 4 || code != std::errc() || end != id.data() + id.size()) return std::nullopt;
  return area;
}

}  // namespace understudy::qemu

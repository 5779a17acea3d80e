#include "qemu/qemu_cgroup.hpp"

#include "base/cgroup.hpp"
#include "base/fnv1a.hpp"
#include "base/kernel_files.hpp"
#include "qemu/launch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

namespace understudy::qemu {

namespace {

std::string prefix_of(const std::filesystem::path& run_dir) {
  char hash[17];
  std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(fnv1a(run_dir.string())));
  return "understudy-" + std::string(hash) + "-";
}

std::string name_of(const Marker& marker) {
  return prefix_of(marker.run_dir) + marker.guest + "." + std::to_string(marker.run);
}

// The guest of a cgroup's name, behind its prefix; empty: it is none of ours.
std::string_view guest_of(std::string_view rest) {
  const std::size_t dot = rest.rfind('.');
  if (dot == std::string_view::npos || !parse_number(rest.substr(dot + 1))) return {};
  return rest.substr(0, dot);
}

// The kernel keeps those that somebody is in. guest: of this one alone; empty: of all.
void remove_empty(const std::string& delegated, const std::filesystem::path& run_dir,
                  std::string_view guest) {
  const std::string prefix = prefix_of(run_dir);
  for (const std::string& name : list_directory(delegated)) {
    if (!name.starts_with(prefix)) continue;
    const std::string_view its = guest_of(std::string_view(name).substr(prefix.size()));
    if (!its.empty() && (guest.empty() || its == guest)) ::rmdir((delegated + "/" + name).c_str());
  }
}

bool hands_down_controllers(const std::string& delegated) {
  return !trim(read_file(delegated + "/cgroup.subtree_control").value_or("")).empty();
}

Result<void> limit(const std::string& directory, Bytes memory_bytes) {
  const std::pair<const char*, std::string> limits[] = {{"/memory.max", std::to_string(memory_bytes)},
                                                        {"/memory.oom.group", "1"},
                                                        {"/pids.max", std::to_string(kMostThreads)}};
  for (const auto& [file, text] : limits) {
    if (auto written = write_file(directory + file, text); !written) return written;
  }
  // Not there where the kernel counts no swap.
  (void)write_file(directory + "/memory.swap.max", "0");
  return {};
}

}  // namespace

Bytes most_memory_of(const GuestPlan& plan) {
  // Twice the base memory: a crash dump holds it, and is memory as well where it is written to a tmpfs.
  const Bytes whole = plan.base_bytes + plan.slots * plan.area_bytes;
  return 2 * plan.base_bytes + kMostBeyondBase + kMostOverhead +
         (plan.vcpus + plan.more_vcpus) * kMostOverheadOfVcpu + whole / kTablesDivisor;
}

Result<QemuCgroup> QemuCgroup::make(const std::string& delegated, const Marker& marker, Bytes memory_bytes) {
  remove_empty(delegated, marker.run_dir, marker.guest);
  QemuCgroup made(delegated + "/" + name_of(marker));
  if (::mkdir(made.directory_.c_str(), 0755) != 0 && errno != EEXIST)
    return failure(errno_text(made.directory_));
  auto limited = hands_down_controllers(delegated) ? limit(made.directory_, memory_bytes) : Result<void>();
  made.directory_fd_ = UniqueFd(::open(made.directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  made.processes_fd_ = UniqueFd(::open((made.directory_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (limited && (!made.directory_fd_ || !made.processes_fd_)) limited = failure(errno_text(made.directory_));
  if (limited) return made;
  made.remove();
  return tl::unexpected(limited.error());
}

std::optional<QemuCgroup> QemuCgroup::of(pid_t process, const Marker& marker) {
  auto directory = cgroup_of(process);
  if (!directory || !directory->ends_with("/" + name_of(marker))) return std::nullopt;
  return QemuCgroup(std::move(*directory));
}

void QemuCgroup::allow(Bytes more, Bytes most) const {
  const std::string file = directory_ + "/memory.max";
  const auto now = parse_number(trim(read_file(file).value_or("")));
  if (more == 0 || !now || *now >= most) return;
  (void)write_file(file, std::to_string(std::min(*now + more, most)));
}

std::string QemuCgroup::ended_by_limit() const {
  if (counter(read_file(directory_ + "/memory.events").value_or(""), "oom_kill") == 0) return {};
  const auto most = parse_number(trim(read_file(directory_ + "/memory.max").value_or("")));
  return "the kernel ended it, because it used all the memory that a QEMU may have (" +
         (most ? format_size(*most) : std::string("no limit is written there any more")) +
         ", memory.max of its control group)";
}

void QemuCgroup::remove() const {
  ::rmdir(directory_.c_str());
}

void remove_empty_cgroups(const std::string& delegated, const std::filesystem::path& run_dir) {
  remove_empty(delegated, run_dir, {});
}

}  // namespace understudy::qemu

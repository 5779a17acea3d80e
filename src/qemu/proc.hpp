#pragma once

#include "base/units.hpp"

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What the host's kernel says about a process, whether it is a child of ours or not. Every answer may be of
// the past already; a pidfd that is still unreadable afterwards proves that it was about the right process.
namespace understudy::qemu {

struct TaskStat {
  std::string name;
  char state = '?';             // R, S, D, T (stopped by a signal), t, Z, X
  std::uint64_t flags = 0;      // PF_* of the kernel
  std::uint64_t cpu_ticks = 0;  // user and system
  // Whether it can never execute an instruction of its program again: it is gone, or in do_exit(), from
  // where no way leads back to user space (nor into a guest's vCPU).
  [[nodiscard]] bool is_over() const;
};

// The text of /proc/PID/stat or /proc/PID/task/TID/stat; the name may contain anything.
[[nodiscard]] std::optional<TaskStat> parse_task_stat(std::string_view text);

// A whole small file of /proc; empty when there is none.
[[nodiscard]] std::string read_proc_file(const std::filesystem::path& path);

[[nodiscard]] std::optional<TaskStat> process_stat(pid_t pid);
struct ProcessIds {
  uid_t uid = 0;  // effective
  gid_t gid = 0;
};
[[nodiscard]] std::optional<ProcessIds> ids_of(pid_t pid);
// Ids of the process's threads; empty when it is gone.
[[nodiscard]] std::vector<pid_t> threads_of(pid_t pid);
// argv; empty when it is gone or a zombie.
[[nodiscard]] std::vector<std::string> arguments_of(pid_t pid);
[[nodiscard]] std::vector<std::string> split_arguments(std::string_view text);

// True when no thread of the process can execute an instruction of its program any more. Only for a process
// that was sent SIGKILL: any other could still start a thread meanwhile.
[[nodiscard]] bool all_threads_over(pid_t pid);

// How far a QEMU's vCPU threads have come (they are named "CPU n/...", see -name debug-threads=on).
struct VcpuProgress {
  std::uint64_t cpu_ns = 0;
  std::uint64_t switches = 0;
};
[[nodiscard]] VcpuProgress vcpu_progress(pid_t pid);

// Memory of a process on the host. Both numbers are of one moment: areas come and go.
struct HostMemory {
  Bytes bytes = 0;        // all of it
  Bytes areas_bytes = 0;  // of that, shared memory: a QEMU of ours shares its areas and nothing else
};
// Its share: Pss of smaps_rollup. Walks the page tables of the whole process: not for the loop's thread.
[[nodiscard]] std::optional<HostMemory> proportional_memory(pid_t pid);
// From counters, in no time; counts what it shares with others in full.
[[nodiscard]] std::optional<HostMemory> resident_memory(pid_t pid);

}  // namespace understudy::qemu

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
  char state = '?';               // R, S, D, T (stopped by a signal), t, Z, X
  std::uint64_t flags = 0;        // PF_* of the kernel
  std::uint64_t cpu_ticks = 0;    // user and system
  std::uint64_t threads = 0;      // of its process, as the kernel counts them; 0: it is gone
  std::uint64_t start_ticks = 0;  // when it was started, since the host was
  // Whether it can never execute an instruction of its program again: it is gone, or in do_exit(), from
  // where no way leads back to user space (nor into a guest's vCPU).
  [[nodiscard]] bool is_over() const;
};

// The text of /proc/PID/stat or /proc/PID/task/TID/stat; the name may contain anything.
[[nodiscard]] std::optional<TaskStat> parse_task_stat(std::string_view text);

// A whole small file of /proc; empty when there is none.
[[nodiscard]] std::string read_proc_file(const std::filesystem::path& path);

[[nodiscard]] std::optional<TaskStat> process_stat(pid_t pid);
// Another one after each start of the host; empty when the kernel does not say.
[[nodiscard]] std::string boot_id();
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

// Proofs about all threads of a process. A listing of /proc/PID/task alone is none: on Linux 6.18 a living
// thread has been missing from one while others ended. So each thread that is listed is looked at, and as
// many must have been seen as the kernel itself counts; when in doubt the answer is no, and it is to be asked
// again. `proc` is /proc, or a test's.
//
// True when no thread of the process can execute an instruction of its program any more. Only for a process
// that was sent SIGKILL: any other could still start a thread meanwhile.
[[nodiscard]] bool all_threads_over(pid_t pid, const std::filesystem::path& proc = "/proc");
// True when every thread is stopped by a signal (state T), so that none of them executes anything before
// somebody sends SIGCONT. Not one that a debugger stopped (state t), which can let it go on.
[[nodiscard]] bool all_threads_stopped(pid_t pid, const std::filesystem::path& proc = "/proc");
// What those that still could execute something are and wait for, for a person: "thread 12 (CPU 0/KVM) is in
// state D (waits in the kernel, nfs_wait_bit_killable)". Empty: there are none.
[[nodiscard]] std::string threads_left(pid_t pid);

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

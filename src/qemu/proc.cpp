#include "qemu/proc.hpp"

#include "base/shown.hpp"
#include "base/unique_fd.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <memory>
#include <sstream>

namespace understudy::qemu {

namespace fs = std::filesystem;

namespace {

// include/linux/sched.h: "Getting shut down", set first thing in do_exit() and never taken back.
constexpr std::uint64_t kPfExiting = 0x4;
constexpr std::size_t kMostProcBytes = 1 << 20;
constexpr std::size_t kMostNameBytes = 64;

fs::path process_path(pid_t pid) {
  return fs::path("/proc") / std::to_string(pid);
}

std::uint64_t number(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The number after "KEY:" at the start of a line.
std::optional<std::uint64_t> field(std::string_view text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ':')
      return number(line.substr(key.size() + 1));
    at = end + 1;
  }
  return std::nullopt;
}

}  // namespace

bool TaskStat::is_over() const {
  return state == 'Z' || state == 'X' || (flags & kPfExiting) != 0;
}

std::optional<TaskStat> parse_task_stat(std::string_view text) {
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  TaskStat stat;
  stat.name = text.substr(open + 1, close - open - 1);
  text.remove_prefix(close + 1);
  std::vector<std::string_view> fields;  // from the third on: state, ppid, ...
  while (!text.empty()) {
    if (text.front() == ' ' || text.front() == '\n') {
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    fields.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  constexpr std::size_t kState = 0, kFlags = 6, kUtime = 11, kStime = 12, kThreads = 17, kStart = 19;
  if (fields.size() <= kStime || fields[kState].size() != 1) return std::nullopt;
  stat.state = fields[kState].front();
  stat.flags = number(fields[kFlags]);
  stat.cpu_ticks = number(fields[kUtime]) + number(fields[kStime]);
  if (fields.size() > kThreads) stat.threads = number(fields[kThreads]);
  if (fields.size() > kStart) stat.start_ticks = number(fields[kStart]);
  return stat;
}

std::string read_proc_file(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char buffer[8192];
  while (fd && text.size() < kMostProcBytes) {
    const ssize_t count = ::read(fd.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return text;
}

std::optional<TaskStat> process_stat(pid_t pid) {
  return parse_task_stat(read_proc_file(process_path(pid) / "stat"));
}

std::string boot_id() {
  std::string id = read_proc_file("/proc/sys/kernel/random/boot_id");
  id.erase(std::min(id.find('\n'), id.size()));
  return id;
}

std::optional<ProcessIds> ids_of(pid_t pid) {
  // "Uid:" and "Gid:" have the real, the effective, the saved and the filesystem's one.
  std::istringstream status(read_proc_file("/proc/" + std::to_string(pid) + "/status"));
  ProcessIds ids;
  int found = 0;
  for (std::string line; found < 2 && std::getline(status, line);) {
    if (!line.starts_with("Uid:") && !line.starts_with("Gid:")) continue;
    std::istringstream numbers(line.substr(4));
    std::uint32_t real = 0;
    std::uint32_t effective = 0;
    if (!(numbers >> real >> effective)) return std::nullopt;
    (line[0] == 'U' ? ids.uid : ids.gid) = effective;
    ++found;
  }
  return found == 2 ? std::optional(ids) : std::nullopt;
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> threads;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir((process_path(pid) / "task").c_str()), ::closedir);
  if (!dir) return threads;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (const auto id = static_cast<pid_t>(number(entry->d_name)); id > 0) threads.push_back(id);
  }
  return threads;
}

std::vector<std::string> arguments_of(pid_t pid) {
  return split_arguments(read_proc_file(process_path(pid) / "cmdline"));
}

std::vector<std::string> split_arguments(std::string_view text) {
  std::vector<std::string> arguments;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\0'), text.size());
    arguments.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return arguments;
}

namespace {

// "Gone" must come from the kernel's own word: with no descriptor left to open /proc with (EMFILE), a running
// process would look just as absent.
bool says_gone(int error) {
  return error == ENOENT || error == ESRCH;
}

struct StatRead {
  bool gone = false;
  std::optional<TaskStat> stat;  // none, and not gone: it could not be read
};

StatRead read_stat(int directory, const std::string& name) {
  const UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t count = fd ? ::read(fd.get(), text, sizeof text) : -1;
  if (count < 0) return {says_gone(errno), std::nullopt};
  return {false, parse_task_stat(std::string_view(text, static_cast<std::size_t>(count)))};
}

// One look at a process and all its threads.
struct Census {
  bool gone = false;         // the process is
  bool readable = true;      // everything that was listed
  std::uint64_t before = 0;  // so many threads it had before the look, as the kernel counts,
  std::uint64_t after = 0;   // and after it
  std::uint64_t over = 0;    // seen: can execute nothing any more, or gone since they were listed
  std::uint64_t stopped = 0;
  std::uint64_t others = 0;
};

Census take_census(pid_t pid, const fs::path& proc) {
  Census census;
  const fs::path process = proc / std::to_string(pid);
  const StatRead before = read_stat(AT_FDCWD, process / "stat");
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir((process / "task").c_str()), ::closedir);
  census.gone = before.gone || (!dir && says_gone(errno)) ||
                (before.stat && before.stat->is_over() && before.stat->threads == 0);
  census.readable = before.stat && dir;
  if (census.gone || !census.readable) return census;
  census.before = before.stat->threads;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) {
      census.readable = errno == 0 || says_gone(errno);
      break;
    }
    if (entry->d_name[0] == '.') continue;
    const StatRead task = read_stat(::dirfd(dir.get()), std::string(entry->d_name) + "/stat");
    if (task.gone || (task.stat && task.stat->is_over())) {
      ++census.over;
    } else if (task.stat && task.stat->state == 'T') {
      ++census.stopped;
    } else {
      ++census.others;
    }
  }
  const StatRead after = read_stat(AT_FDCWD, process / "stat");
  if (after.stat) census.after = after.stat->threads;
  return census;
}

}  // namespace

// Nobody starts a thread after SIGKILL. So whoever executes something now was there before the look; as many
// were seen as there were then, so it was seen, and it was over.
bool all_threads_over(pid_t pid, const fs::path& proc) {
  const Census census = take_census(pid, proc);
  if (census.gone) return true;
  return census.readable && census.others == 0 && census.stopped == 0 && census.over == census.before;
}

// What was seen stopped neither ends nor starts a thread. As many as were seen are there before and after the
// look: so they are all.
bool all_threads_stopped(pid_t pid, const fs::path& proc) {
  const Census census = take_census(pid, proc);
  return !census.gone && census.readable && census.stopped > 0 && census.over == 0 && census.others == 0 &&
         census.stopped == census.before && census.after == census.before;
}

std::string threads_left(pid_t pid) {
  std::string text;
  for (const pid_t thread : threads_of(pid)) {
    const fs::path path = process_path(pid) / "task" / std::to_string(thread);
    const auto stat = parse_task_stat(read_proc_file(path / "stat"));
    if (!stat || stat->is_over()) continue;
    const std::string place = read_proc_file(path / "wchan");
    text += text.empty() ? "" : "; ";
    text += "thread " + std::to_string(thread) + " (" + shown(stat->name, kMostNameBytes) + ") is in state " +
            stat->state;
    if (stat->state == 'D') text += ", waits in the kernel and cannot be killed there";
    if (!place.empty() && place != "0") text += " (" + shown(place, kMostNameBytes) + ")";
  }
  return text;
}

VcpuProgress vcpu_progress(pid_t pid) {
  VcpuProgress progress;
  for (const pid_t thread : threads_of(pid)) {
    const fs::path path = process_path(pid) / "task" / std::to_string(thread);
    if (!read_proc_file(path / "comm").starts_with("CPU ")) continue;
    progress.cpu_ns += number(read_proc_file(path / "schedstat"));
    const std::string status = read_proc_file(path / "status");
    progress.switches += field(status, "voluntary_ctxt_switches").value_or(0) +
                         field(status, "nonvoluntary_ctxt_switches").value_or(0);
  }
  return progress;
}

namespace {

std::optional<HostMemory> memory_in(const std::string& text, std::string_view all, std::string_view shared) {
  const auto all_kib = field(text, all);
  if (!all_kib) return std::nullopt;
  return HostMemory{*all_kib << 10, field(text, shared).value_or(0) << 10};
}

}  // namespace

std::optional<HostMemory> proportional_memory(pid_t pid) {
  return memory_in(read_proc_file(process_path(pid) / "smaps_rollup"), "Pss", "Pss_Shmem");
}

std::optional<HostMemory> resident_memory(pid_t pid) {
  return memory_in(read_proc_file(process_path(pid) / "status"), "VmRSS", "RssShmem");
}

}  // namespace understudy::qemu

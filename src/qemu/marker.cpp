#include "qemu/marker.hpp"

#include "base/doing.hpp"
#include "base/unique_fd.hpp"
#include "qemu/guest_files.hpp"
#include "qemu/proc.hpp"
#include "qemu/qemu_cgroup.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>

namespace understudy::qemu {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "guest=understudy:";

// The value up to the first single comma, with doubled ones undone.
std::string unescape_value(std::string_view text) {
  std::string value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',') {
      if (i + 1 >= text.size() || text[i + 1] != ',') break;
      ++i;
    }
    value += text[i];
  }
  return value;
}

bool belongs_to(pid_t pid, const std::vector<uid_t>& users) {
  const auto ids = ids_of(pid);
  return ids && std::find(users.begin(), users.end(), ids->uid) != users.end();
}

// The guest's process that was written down, and that is the one that has this pid now.
std::optional<WrittenProcess> written_process(const fs::path& run_dir, const std::string& guest) {
  const auto files = GuestFiles::at(run_dir, guest);
  const auto process = files ? files->read_process() : std::nullopt;
  return process && process->lives() ? process : std::nullopt;
}

// Of all guests of a run directory.
class Written {
 public:
  explicit Written(fs::path run_dir) : run_dir_(std::move(run_dir)) {
    for (const std::string& guest : guests_with_files(run_dir_)) {
      if (const auto process = written_process(run_dir_, guest))
        living_.push_back({process->pid, {run_dir_, guest, process->run}});
    }
  }
  [[nodiscard]] std::optional<Marker> marker_of(pid_t pid) const {
    for (const FoundProcess& each : living_) {
      if (each.pid == pid) return each.marker;
    }
    auto said = find_marker(arguments_of(pid));
    if (!said || said->run_dir != run_dir_) return std::nullopt;
    for (const FoundProcess& each : living_) {
      if (each.marker == *said) return std::nullopt;
    }
    return said;
  }

 private:
  fs::path run_dir_;
  std::vector<FoundProcess> living_;
};

std::vector<pid_t> all_processes() {
  std::vector<pid_t> pids;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc"), ::closedir);
  if (!dir) return pids;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (code == std::errc() && end == name.data() + name.size()) pids.push_back(pid);
  }
  return pids;
}

}  // namespace

std::string escape_commas(std::string_view text) {
  std::string escaped;
  for (const char c : text) escaped += c == ',' ? ",," : std::string(1, c);
  return escaped;
}

std::string name_option(const Marker& marker) {
  return std::string(kPrefix) + escape_commas(marker.run_dir.string()) + ":" + escape_commas(marker.guest) +
         ":" + std::to_string(marker.run) + ",debug-threads=on";
}

std::optional<Marker> find_marker(const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] != "-name" || !arguments[i + 1].starts_with(kPrefix)) continue;
    const std::string value = unescape_value(std::string_view(arguments[i + 1]).substr(kPrefix.size()));
    const std::size_t last = value.rfind(':');
    if (last == std::string::npos || last == 0) return std::nullopt;
    const std::size_t before = value.rfind(':', last - 1);
    if (before == std::string::npos) return std::nullopt;
    Marker marker{value.substr(0, before), value.substr(before + 1, last - before - 1), 0};
    const char* const end = value.data() + value.size();
    const auto [stop, code] = std::from_chars(value.data() + last + 1, end, marker.run);
    if (code != std::errc() || stop != end) return std::nullopt;
    return marker;
  }
  return std::nullopt;
}

// As a rule its own guest's file says so; all of them are read for one that was not written down.
bool is_the_qemu(const Marker& marker, pid_t pid) {
  const auto process = written_process(marker.run_dir, marker.guest);
  if (process && process->run == marker.run) return process->pid == pid;
  return Written(marker.run_dir).marker_of(pid) == marker;
}

// One number in each line.
std::vector<uid_t> remembered_users(const fs::path& run_dir) {
  std::vector<uid_t> users;
  std::ifstream in(run_dir / kUsersFile);
  for (uid_t uid = 0; in >> uid;) users.push_back(uid);
  return users;
}

Result<void> remember_user(const fs::path& run_dir, uid_t uid) {
  static std::mutex one_at_a_time;  // each guest is started by a worker thread of its own
  const std::lock_guard lock(one_at_a_time);
  const auto known = remembered_users(run_dir);
  if (std::find(known.begin(), known.end(), uid) != known.end()) return {};
  const fs::path file = run_dir / kUsersFile;
  const std::string line = std::to_string(uid) + "\n";
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd || ::write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return failure("cannot write " + file.string() + ": " + std::strerror(errno));
  return {};
}

Result<void> check_no_strangers(const fs::path& run_dir, uid_t first, uid_t last) {
  const Written written(run_dir);
  for (const pid_t pid : all_processes()) {
    const auto ids = ids_of(pid);
    if (!ids || ids->uid < first || ids->uid > last) continue;
    const auto stat = process_stat(pid);
    if (!stat || all_threads_over(pid) || written.marker_of(pid)) continue;
    return failure("the guests' QEMUs are to run as the uids " + std::to_string(first) + " to " +
                   std::to_string(last) + ", but process " + std::to_string(pid) + " (" + stat->name +
                   ") runs as " + std::to_string(ids->uid) + "; end it, or set another first_uid in [qemu]");
  }
  return {};
}

std::vector<FoundProcess> find_processes(const fs::path& run_dir) {
  const Doing doing("looking at every process");
  std::vector<FoundProcess> found;
  std::vector<uid_t> users = remembered_users(run_dir);
  users.push_back(::geteuid());
  const Written written(run_dir);
  for (const pid_t pid : all_processes()) {
    if (!belongs_to(pid, users)) continue;
    auto marker = written.marker_of(pid);
    if (marker) found.push_back({pid, std::move(*marker)});
  }
  return found;
}

Result<std::size_t> end_all(const fs::path& run_dir, Duration limit) {
  struct Ending {
    FoundProcess process;
    UniqueFd pidfd;
    std::optional<QemuCgroup> cgroup;
  };
  std::vector<Ending> ending;
  for (FoundProcess& process : find_processes(run_dir)) {
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    // Only now is the pid held still: look again whose it is.
    if (!pidfd || !is_the_qemu(process.marker, process.pid)) continue;
    auto cgroup = QemuCgroup::of(process.pid, process.marker);
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    ending.push_back({std::move(process), std::move(pidfd), std::move(cgroup)});
  }
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::string left;
  for (const Ending& each : ending) {
    const auto rest =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd end{each.pidfd.get(), POLLIN, 0};
    if (::poll(&end, 1, std::max(0, static_cast<int>(rest.count()))) != 1)
      left += (left.empty() ? "" : ", ") + each.process.marker.guest + " (pid " +
              std::to_string(each.process.pid) + ")";
    if (each.cgroup) each.cgroup->remove();
  }
  if (!left.empty())
    return failure("these guests were killed but their QEMU does not end: " + left +
                   "; the host's kernel holds them (see `dmesg`), try again later");
  if (auto removed = remove_all_guest_files(run_dir); !removed) return failure(removed.error().message);
  return ending.size();
}

}  // namespace understudy::qemu

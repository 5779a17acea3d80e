#include "agent/container.hpp"

#include "agent/os.hpp"
#include "agent/process_state.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

namespace understudy::agent {

namespace {

// Told at most once in 10 s, the longest window that the kernel takes: some of it was stalled all the while
// for half a second (us).
constexpr char kPressureTrigger[] = "full 500000 10000000";

// A cgroup's name holds what is safe in a path.
std::string safe_name(std::string name) {
  for (char& c : name) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    if (!safe) c = '_';
  }
  return name;
}

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return {};
  return failure(errno_text(path));
}

}  // namespace

Result<std::string> prepare_cgroups(const std::string& root) {
  if (!exists(root + "/cgroup.controllers")) return failure(root + " is not a cgroup v2 directory");
  const std::string parent = root + "/understudy";
  if (auto made = make_directory(parent); !made) return tl::unexpected(made.error());
  // The root may not have the controller to give (then memory is not limited, and says so when it is asked to
  // be).
  (void)write_file(root + "/cgroup.subtree_control", "+memory");
  (void)write_file(parent + "/cgroup.subtree_control", "+memory");
  return parent;
}

Result<std::unique_ptr<Container>> CgroupContainer::create(Loop& loop, const std::string& parent,
                                                           const std::string& name) {
  const std::string directory = parent + "/" + safe_name(name);
  if (auto made = make_directory(directory); !made) return tl::unexpected(made.error());
  UniqueFd procs(::open((directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs) return failure(errno_text(directory + "/cgroup.procs"));
  UniqueFd events(::open((directory + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  if (!events) return failure(errno_text(directory + "/cgroup.events"));
  UniqueFd directory_fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  (void)write_file(directory + "/memory.oom.group", "1");
  std::unique_ptr<CgroupContainer> container(
      new CgroupContainer(directory, std::move(directory_fd), std::move(procs), std::move(events)));
  auto* self = container.get();
  self->watch_ = loop.watch(self->events_.get(), EPOLLPRI, [self](std::uint32_t) {
    char text[256];
    (void)!::pread(self->events_.get(), text, sizeof text, 0);  // re-arms the notification
    self->changed();
  });
  self->watch_pressure(loop);
  return container;
}

// Without pressure stall information (psi=0) nothing is seen, and the kernel's own kill is what there is.
void CgroupContainer::watch_pressure(Loop& loop) {
  pressure_ = UniqueFd(::open((directory_ + "/memory.pressure").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!pressure_ || ::write(pressure_.get(), kPressureTrigger, sizeof kPressureTrigger) < 0)
    return pressure_.reset();
  pressure_watch_ = loop.watch(pressure_.get(), EPOLLPRI, [this](std::uint32_t what) {
    if ((what & EPOLLERR) != 0) return pressure_watch_.reset();
    under_pressure();
  });
}

void CgroupContainer::under_pressure() {
  const auto limit = read_file(directory_ + "/memory.max");  // no limit: "max"
  const std::string stat = read_file(directory_ + "/memory.stat").value_or("");
  if (judge_.crawls(parse_memory_stat(stat), parse_number(trim(limit.value_or(""))), Loop::now())) stalled();
}

CgroupContainer::~CgroupContainer() {
  watch_.reset();
  pressure_watch_.reset();
  pressure_.reset();
  (void)::rmdir(directory_.c_str());  // stays when something is still in it
}

bool CgroupContainer::join_in_child() {
  return ::write(procs_.get(), "0", 1) == 1;
}

void CgroupContainer::forked(pid_t main_process, bool born_inside) {
  if (born_inside) return;
  const std::string pid = std::to_string(main_process);
  (void)!::write(procs_.get(), pid.data(), pid.size());  // fails when it has ended already
}

Result<void> CgroupContainer::limit_memory(Bytes bytes) {
  return write_file(directory_ + "/memory.max", bytes == 0 ? "max" : std::to_string(bytes));
}

Bytes CgroupContainer::memory_used() const {
  return parse_memory_stat(read_file(directory_ + "/memory.stat").value_or("")).kept_bytes();
}

std::uint64_t CgroupContainer::out_of_memory_kills() const {
  return counter(read_file(directory_ + "/memory.events").value_or(""), "oom_kill");
}

std::vector<pid_t> CgroupContainer::processes() const {
  std::vector<pid_t> pids;
  const std::string text = read_file(directory_ + "/cgroup.procs").value_or("");
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (const auto pid = parse_number(line); pid && *pid > 0) pids.push_back(static_cast<pid_t>(*pid));
  }
  return pids;
}

bool CgroupContainer::populated() const {
  // Unreadable is not empty.
  const auto text = read_file(directory_ + "/cgroup.events");
  return !text || counter(*text, "populated") != 0;
}

void CgroupContainer::signal_all(int signal) {
  for (const pid_t pid : processes()) ::kill(pid, signal);
}

void CgroupContainer::kill_all() {
  // Who has a SIGKILL pending forks no more: when a round finds nobody new, all of them are about to end.
  std::set<pid_t> killed;
  constexpr int kRounds = 64;
  for (int round = 0; round < kRounds; ++round) {
    bool found = false;
    for (const pid_t pid : processes()) {
      if (!killed.insert(pid).second) continue;
      found = true;
      ::kill(pid, SIGKILL);
    }
    if (!found) return;
  }
  // They fork faster than that. cgroup.kill (Linux 5.14) ends it, and has a price: since its
  // race with fork was mended, kernels (seen with 6.18) kill whoever is cloned into such a cgroup later on.
  (void)write_file(directory_ + "/cgroup.kill", "1");
  directory_fd_ = UniqueFd();
}

std::vector<pid_t> SessionContainer::processes() const {
  std::vector<pid_t> pids;
  if (session_ <= 0) return pids;
  for (const std::string& name : list_directory("/proc")) {
    const auto pid = parse_number(name);
    if (!pid) continue;
    const auto state = read_process_state(static_cast<pid_t>(*pid));
    if (!state || state->ended()) continue;
    // Our child may not have come to begin its session.
    const bool newborn = static_cast<pid_t>(*pid) == session_ && state->parent == ::getpid();
    if (state->session == session_ || newborn) pids.push_back(static_cast<pid_t>(*pid));
  }
  return pids;
}

void SessionContainer::signal_all(int signal) {
  for (const pid_t pid : processes()) ::kill(pid, signal);
}

void SessionContainer::kill_all() {
  constexpr int kRounds = 64;
  for (int round = 0; round < kRounds && populated(); ++round) signal_all(SIGKILL);
}

}  // namespace understudy::agent

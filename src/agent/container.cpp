#include "agent/container.hpp"

#include "agent/process_state.hpp"
#include "base/kernel_files.hpp"

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

std::vector<std::string> children_of(const std::string& directory) {
  std::vector<std::string> children;
  for (const std::string& name : list_directory(directory)) {
    const std::string path = directory + "/" + name;
    struct stat what {};
    if (::lstat(path.c_str(), &what) == 0 && S_ISDIR(what.st_mode)) children.push_back(path);
  }
  return children;
}

// A cgroup and all below it, as far as they are empty.
void collect(const std::string& directory, int depth, std::vector<std::string>& all) {
  if (depth > kMostDepth || all.size() >= kMostCgroups) return;
  all.push_back(directory);
  for (const std::string& child : children_of(directory)) collect(child, depth + 1, all);
}

// Parents before their children. Looked for only where there are any: hardly ever, and it is asked often.
std::vector<std::string> tree_of(const std::string& directory) {
  const auto stat = read_file(directory + "/cgroup.stat");
  if (stat && counter(*stat, "nr_descendants") == 0) return {directory};
  std::vector<std::string> all;
  collect(directory, 0, all);
  return all;
}

void remove_tree(const std::string& directory) {
  const auto all = tree_of(directory);
  for (auto at = all.rbegin(); at != all.rend(); ++at) (void)::rmdir(at->c_str());
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
  // The root may not have one of the controllers to give (then what it counts is not limited, and is said so
  // when it is to be).
  for (const char* const controller : {"+memory", "+pids"}) {
    (void)write_file(root + "/cgroup.subtree_control", controller);
    (void)write_file(parent + "/cgroup.subtree_control", controller);
  }
  return parent;
}

Result<std::unique_ptr<Container>> CgroupContainer::create(Loop& loop, const std::string& parent,
                                                           const std::string& name) {
  std::unique_ptr<CgroupContainer> container(new CgroupContainer(loop, parent + "/" + safe_name(name)));
  if (auto opened = container->open(); !opened) return tl::unexpected(opened.error());
  return container;
}

Result<void> CgroupContainer::open() {
  if (auto made = make_directory(directory_); !made) return made;
  procs_ = UniqueFd(::open((directory_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs_) return failure(errno_text(directory_ + "/cgroup.procs"));
  events_ = UniqueFd(::open((directory_ + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  if (!events_) return failure(errno_text(directory_ + "/cgroup.events"));
  directory_fd_ = UniqueFd(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  (void)write_file(directory_ + "/memory.oom.group", "1");
  watch_ = loop_.watch(events_.get(), EPOLLPRI, [this](std::uint32_t) {
    char text[256];
    (void)!::pread(events_.get(), text, sizeof text, 0);  // re-arms the notification
    changed();
  });
  watch_pressure();
  // What is known of them is of a cgroup that is gone.
  most_processes_ = 0;
  port_guard_ = {};
  return refused_ports_.empty() ? Result<void>() : refuse_ports(std::exchange(refused_ports_, {}));
}

// Without pressure stall information (psi=0) nothing is seen, and the kernel's own kill is what there is.
void CgroupContainer::watch_pressure() {
  pressure_ = UniqueFd(::open((directory_ + "/memory.pressure").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!pressure_ || ::write(pressure_.get(), kPressureTrigger, sizeof kPressureTrigger) < 0)
    return pressure_.reset();
  pressure_watch_ = loop_.watch(pressure_.get(), EPOLLPRI, [this](std::uint32_t what) {
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
  remove_tree(directory_);  // stays when something is still in it
}

// A root application may have made cgroups below its own, handed controllers down to them (then nothing can
// run in its own any more), or made it threaded, which is for ever.
bool CgroupContainer::as_made() const {
  return children_of(directory_).empty() &&
         trim(read_file(directory_ + "/cgroup.subtree_control").value_or("")).empty() &&
         trim(read_file(directory_ + "/cgroup.type").value_or("domain")) == "domain";
}

Result<void> CgroupContainer::renew() {
  if (directory_fd_ && as_made()) return {};
  pressure_watch_.reset();
  pressure_.reset();
  watch_.reset();
  remove_tree(directory_);
  return open();
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

void CgroupContainer::limit_processes(std::uint64_t most) {
  if (most == most_processes_) return;
  const auto done = write_file(directory_ + "/pids.max", most == 0 ? "max" : std::to_string(most));
  most_processes_ = done ? most : 0;
}

std::uint64_t CgroupContainer::refused_processes() const {
  return counter(read_file(directory_ + "/pids.events").value_or(""), "max");
}

Result<void> CgroupContainer::refuse_ports(std::vector<std::uint16_t> ports) {
  if (ports == refused_ports_) return {};
  auto refused = port_guard_.refuse(directory_fd_.get(), ports);
  if (refused) refused_ports_ = std::move(ports);
  return refused;
}

Bytes CgroupContainer::memory_used() const {
  return parse_memory_stat(read_file(directory_ + "/memory.stat").value_or("")).kept_bytes();
}

Bytes CgroupContainer::kernel_memory_used() const {
  return parse_memory_stat(read_file(directory_ + "/memory.stat").value_or("")).kernel_bytes;
}

OutOfMemory CgroupContainer::out_of_memory() const {
  const std::string all = read_file(directory_ + "/memory.events").value_or("");
  const std::string own = read_file(directory_ + "/memory.events.local").value_or(all);
  return {counter(all, "oom_kill"), counter(own, "oom"), counter(all, "oom")};
}

// Those of the cgroups below it as well. A threaded one has none of its own to tell: they are its parent's.
std::vector<pid_t> CgroupContainer::processes() const {
  std::vector<pid_t> pids;
  for (const std::string& directory : tree_of(directory_)) {
    const std::string text = read_file(directory + "/cgroup.procs").value_or("");
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      if (const auto pid = parse_number(line); pid && *pid > 0) pids.push_back(static_cast<pid_t>(*pid));
    }
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
  // They fork faster than that. cgroup.kill (Linux 5.14) ends it, with all cgroups below, and has a price:
  // since its race with fork was mended, kernels (seen with 6.18) kill whoever is cloned into such a cgroup
  // later on. Without the descriptor it is made anew before the next start.
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

#include "agent/kernel_limits.hpp"

#include "agent/os.hpp"

#include <algorithm>
#include <optional>

namespace understudy::agent {

namespace {

using Numbers = std::vector<std::uint64_t>;

// What one of each costs the kernel: a thread its stack and task, a file, a watch of inotify or epoll, an
// orphaned connection, one in TIME_WAIT.
constexpr Bytes kThreadBytes = 24_KiB;
constexpr Bytes kFileBytes = 512;
constexpr Bytes kInotifyWatchBytes = 1280;
constexpr Bytes kEpollWatchBytes = 200;
constexpr Bytes kOrphanBytes = 2_KiB;
constexpr Bytes kTimeWaitBytes = 256;

// A small kernel has some 60 threads of its own. With less than that share nothing can be run.
constexpr std::uint64_t kLeastRoom = 128;
constexpr std::uint64_t kLeastShare = 32;

// The rules of Linux 6.1 (fork.c set_max_threads, file_table.c files_maxfiles_init, inotify_user.c,
// fanotify_user.c, eventpoll.c, tcp.c tcp_init, udp.c udp_init), each with the part of the base memory that
// it may take at most.
struct Rule {
  const char* name;
  Numbers (*compute)(Bytes total, Bytes base);
};

std::uint64_t threads(Bytes total, Bytes base) {
  return std::min(total / 128_KiB, base / 8 * 3 / kThreadBytes);
}

// Entries of the table of TCP connections.
std::uint64_t connections(Bytes total) {
  return total / 128_KiB;
}

// low, pressure, high: in pages.
Numbers network_pages(Bytes limit, Bytes high_cap) {
  const std::uint64_t most = std::min(limit, high_cap / 3 * 2) / kPageBytes;
  return {most / 4 * 3, most, most / 4 * 3 * 2};
}

// least, default, most of one connection's buffer: 0 leaves what is there.
Numbers buffer_bytes(Bytes total, Bytes base, Bytes most) {
  return {0, 0, std::min({most, total / 128, base / 16})};
}

constexpr Rule kRules[] = {
    {"kernel/threads-max", [](Bytes total, Bytes base) -> Numbers { return {threads(total, base)}; }},
    {"fs/file-max",
     [](Bytes total, Bytes base) -> Numbers { return {std::min(total / 10_KiB, base / 4 / kFileBytes)}; }},
    {"fs/inotify/max_user_watches",
     [](Bytes total, Bytes base) -> Numbers {
       return {std::min(total / 100, base / 8) / kInotifyWatchBytes};
     }},
    {"fs/fanotify/max_user_marks",
     [](Bytes total, Bytes base) -> Numbers {
       return {std::min(total / 100, base / 8) / kInotifyWatchBytes};
     }},
    {"fs/epoll/max_user_watches",
     [](Bytes total, Bytes base) -> Numbers { return {std::min(total / 25, base / 8) / kEpollWatchBytes}; }},
    {"net/ipv4/tcp_mem", [](Bytes total, Bytes base) { return network_pages(total / 16, base / 4); }},
    {"net/ipv4/udp_mem", [](Bytes total, Bytes base) { return network_pages(total / 8, base / 4); }},
    {"net/ipv4/tcp_rmem", [](Bytes total, Bytes base) { return buffer_bytes(total, base, 6_MiB); }},
    {"net/ipv4/tcp_wmem", [](Bytes total, Bytes base) { return buffer_bytes(total, base, 4_MiB); }},
    {"net/ipv4/tcp_max_orphans",
     [](Bytes total, Bytes base) -> Numbers {
       return {std::min(connections(total) / 2, base / 16 / kOrphanBytes)};
     }},
    {"net/ipv4/tcp_max_tw_buckets",
     [](Bytes total, Bytes base) -> Numbers {
       return {std::min(connections(total) / 2, base / 16 / kTimeWaitBytes)};
     }},
};
// Of namespaces of each kind: half as many as threads.
constexpr const char* kNamespaceKinds[] = {"user", "pid", "uts", "ipc", "net", "mnt", "cgroup", "time"};

std::optional<Numbers> read_numbers(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return std::nullopt;
  Numbers numbers;
  std::string_view rest = trim(*text);
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find_first_of(" \t"));
    const auto number = parse_number(word);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
    rest = trim(rest.substr(word.size()));
  }
  return numbers.empty() ? std::nullopt : std::optional(std::move(numbers));
}

std::string namespaces_of(const char* kind) {
  return "user/max_" + std::string(kind) + "_namespaces";
}

}  // namespace

KernelLimits::KernelLimits(std::string directory, Bytes base_bytes)
    : directory_(std::move(directory)), base_bytes_(base_bytes) {
  const auto remember = [this](const std::string& name) {
    if (auto numbers = read_numbers(directory_ + "/" + name)) at_boot_[name] = written_[name] = *numbers;
  };
  for (const Rule& rule : kRules) remember(rule.name);
  for (const char* const kind : kNamespaceKinds) remember(namespaces_of(kind));
  const auto found = at_boot_.find("kernel/threads-max");
  if (found != at_boot_.end()) processes_ = found->second.front();
}

void KernelLimits::adjust(Bytes total_bytes, const Say& say) {
  for (const Rule& rule : kRules) write(rule.name, rule.compute(total_bytes, base_bytes_), say);
  const std::uint64_t some = threads(total_bytes, base_bytes_);
  for (const char* const kind : kNamespaceKinds) write(namespaces_of(kind), {some / 2}, say);
  const auto found = written_.find("kernel/threads-max");
  if (found != written_.end()) processes_ = found->second.front();
}

std::uint64_t KernelLimits::processes_of_each(std::size_t applications) const {
  if (processes_ == 0) return 0;
  const auto ids = read_numbers(directory_ + "/kernel/pid_max");
  const std::uint64_t all = ids ? std::min(processes_, ids->front()) : processes_;
  const std::uint64_t room = std::min(all / 2, std::max(kLeastRoom, all / 8));
  return std::max(kLeastShare, (all - room) / std::max<std::size_t>(applications, 1));
}

void KernelLimits::write(const std::string& name, const std::vector<std::uint64_t>& numbers, const Say& say) {
  const auto boot = at_boot_.find(name);
  if (boot == at_boot_.end() || boot->second.size() != numbers.size()) return;
  Numbers wanted = boot->second;
  for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = std::max(wanted[i], numbers[i]);
  Numbers& written = written_[name];
  if (wanted == written) return;
  std::string text;
  for (const std::uint64_t number : wanted) text += (text.empty() ? "" : " ") + std::to_string(number);
  if (auto done = write_file(directory_ + "/" + name, text); !done) {
    if (!std::exchange(told_, true))
      say("a limit of the kernel stays as it was at boot: " + done.error().message);
    return;
  }
  written = std::move(wanted);
}

}  // namespace understudy::agent

#include "agent/cpus.hpp"

#include "base/kernel_files.hpp"

#include <signal.h>
#include <unistd.h>

#include <utility>

namespace understudy::agent {

namespace {

constexpr std::string_view kCpuPrefix = "cpu";

// In the child.
[[noreturn]] void write_online(const std::string& file) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::_exit(write_file(file, "1") ? 0 : 1);
}

}  // namespace

std::optional<std::uint64_t> cpu_number(std::string_view name) {
  if (!name.starts_with(kCpuPrefix)) return std::nullopt;
  return parse_number(name.substr(kCpuPrefix.size()));
}

Cpus::Cpus(Children& children, std::string directory, Say say)
    : children_(children), directory_(std::move(directory)), say_(std::move(say)) {}

void Cpus::on_uevent(const Uevent& event) {
  if (event.subsystem != "cpu") return;
  const auto cpu = cpu_number(event.name());
  if (cpu && event.action == "add") bring_online(*cpu);
}

void Cpus::look_again() {
  for (const std::string& name : list_directory(directory_)) {
    if (const auto cpu = cpu_number(name)) bring_online(*cpu);
  }
}

std::string Cpus::file(std::uint64_t cpu) const {
  return directory_ + "/cpu" + std::to_string(cpu) + "/online";
}

void Cpus::bring_online(std::uint64_t cpu) {
  const auto state = read_file(file(cpu));  // the first one has no such file: it is always online
  if (!state || trim(*state) != "0" || !under_way_.insert(cpu).second) return;
  const pid_t pid = ::fork();
  if (pid == 0) write_online(file(cpu));
  if (pid < 0) {
    under_way_.erase(cpu);
    return say_("vCPU " + std::to_string(cpu) + " stays offline: the guest has no process left for it");
  }
  children_.expect(pid, [this, cpu](int) { finished(cpu); });
}

void Cpus::finished(std::uint64_t cpu) {
  under_way_.erase(cpu);
  const auto state = read_file(file(cpu));
  if (!state) return;  // taken away again meanwhile
  if (trim(*state) != "1") return say_("vCPU " + std::to_string(cpu) + " could not be brought online");
  const auto online = read_file(directory_ + "/online");
  say_("vCPU " + std::to_string(cpu) + " is online" +
       (online ? "; online now: " + std::string(trim(*online)) : ""));
}

}  // namespace understudy::agent

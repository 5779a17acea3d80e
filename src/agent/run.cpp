#include "agent/run.hpp"

#include "agent/os.hpp"
#include "agent/process_state.hpp"

#include <sys/wait.h>
#include <unistd.h>

namespace understudy::agent {

namespace {

std::vector<std::string> environment_of(const protocol::Application& definition, const User& user,
                                        const std::string& notify_path) {
  std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                                          "HOME=" + user.home, "USER=" + user.name, "LOGNAME=" + user.name};
  if (!notify_path.empty()) environment.push_back("NOTIFY_SOCKET=" + notify_path);
  for (const auto& variable : definition.environment) {
    std::erase_if(environment,
                  [&](const std::string& other) { return other.starts_with(variable.name + "="); });
    environment.push_back(variable.name + "=" + variable.value);
  }
  return environment;
}

}  // namespace

tl::expected<std::unique_ptr<Run>, Fault> Run::launch(Host& host, const protocol::Application& definition,
                                                      const Surroundings& around, Handlers handlers) {
  const auto not_executable = [](const Error& error) {
    return tl::unexpected(Fault{FaultKind::not_executable, error.message});
  };
  auto user = find_user(definition.user, read_file(host.passwd_file).value_or(""));
  if (!user) return not_executable(user.error());

  std::unique_ptr<Run> run(new Run(host, definition, around, std::move(handlers)));
  Namespaces namespaces;
  if (around.keeper != nullptr) {
    namespaces = host.namespaces(definition, around.memory_limit_bytes);
    if (auto kept = around.keeper->keep(namespaces, *user); !kept) return not_executable(kept.error());
  }
  if (auto listens = run->listen_for_readiness(namespaces, *user); !listens)
    return not_executable(listens.error());
  SpawnRequest request = run->request(namespaces, *user);
  auto spawned = spawn(request);
  if (!spawned) return not_executable(spawned.error());
  run->pid_ = spawned->pid;
  run->output_ = std::move(spawned->output);
  run->exec_error_ = std::move(spawned->exec_error);
  run->watch(std::move(request));
  return run;
}

// Whoever can write to the socket is believed. Where the application has files of its own, nobody else has it
// in sight; that needs no look at the sender, which may have ended by the time that it is read.
Result<void> Run::listen_for_readiness(const Namespaces& namespaces, const User& user) {
  if (definition_.ready != protocol::Ready::notify) return {};
  const std::string name = namespaces.files ? "/notify" : "/notify-" + definition_.name;
  auto notify = NotifySocket::create(
      host_.loop, (namespaces.files ? namespaces.files->own_run_directory : host_.run_directory) + name, user,
      [this] { ready(); });
  if (!notify) return tl::unexpected(notify.error());
  notify_ = std::move(*notify);
  notify_path_ = host_.run_directory + name;
  return {};
}

SpawnRequest Run::request(const Namespaces& namespaces, const User& user) const {
  SpawnRequest request;
  request.argv = definition_.start;
  request.environment = environment_of(definition_, user, notify_path_);
  request.user = user;
  request.container = &around_.container;
  request.keeper = around_.keeper;
  request.isolated = namespaces.isolated;
  request.own_files = namespaces.files;
  if (host_.processes) request.processes = host_.processes();
  if (host_.own_domain) request.own_domain = host_.own_domain(definition_, user);
  return request;
}

// Its checks run as it does, and where it does.
void Run::watch(SpawnRequest request) {
  request.container = &around_.checks;
  request.own_files.reset();
  monitor_ = std::make_unique<HealthMonitor>(
      host_.loop, host_.children, definition_.health, pid_, std::move(request),
      HealthMonitor::Handlers{[this] { ready(); },
                              [this](std::string why) {
                                fault({FaultKind::unhealthy, std::move(why)});
                              }});
  host_.children.expect(pid_, [this](int wait_status) { main_ended(wait_status); });
  output_watch_ = host_.loop.watch(output_.get(), EPOLLIN, [this](std::uint32_t) {
    if (!read_output()) output_watch_.reset();
  });
  exec_watch_ = host_.loop.watch(exec_error_.get(), EPOLLIN, [this](std::uint32_t) {
    if (auto never_executed = executed_or_not()) fault(std::move(*never_executed));
  });
}

Run::~Run() {
  if (output_watch_) (void)read_output();
  if (!reaped_) host_.children.forget(pid_);
}

void Run::mute() {
  muted_ = true;
  monitor_.reset();
  exec_watch_.reset();
  last_to_leave_.reset();
}

std::string Run::why_not_ready() const {
  if (is_ready_) return "";
  if (definition_.ready == protocol::Ready::notify) return "it has not said READY=1 to its NOTIFY_SOCKET";
  const std::string failure = monitor_ ? monitor_->last_failure() : "";
  return failure.empty() ? "no health check has ended" : "its last health check: " + failure;
}

std::optional<Fault> Run::executed_or_not() {
  char text[256];
  const ssize_t got = ::read(exec_error_.get(), text, sizeof text);
  if (got < 0) return std::nullopt;
  exec_watch_.reset();
  if (got > 0) {
    return Fault{FaultKind::not_executable,
                 "it cannot be executed: " + std::string(text, static_cast<std::size_t>(got))};
  }
  if (definition_.ready == protocol::Ready::health && monitor_) monitor_->start(false);
  return std::nullopt;
}

void Run::ready() {
  if (muted_ || std::exchange(is_ready_, true)) return;
  if (definition_.ready == protocol::Ready::notify && monitor_) monitor_->start(true);
  handlers_.ready();
}

void Run::main_ended(int wait_status) {
  reaped_ = true;
  if (muted_) {
    const auto change = handlers_.container_change;
    return change();
  }
  // It may have ended because it was never executed; that is the better reason.
  auto never_executed = exec_watch_ ? executed_or_not() : std::nullopt;
  if (never_executed) return fault(std::move(*never_executed));
  const bool young = Loop::now() - began_ < std::chrono::milliseconds(definition_.start_limit_ms);
  if (!young || !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0 || left_behind().empty())
    return fault({FaultKind::ended, describe_end(wait_status, "", "")});
  monitor_.reset();
  last_to_leave_ = host_.loop.after(kLastToLeave, [this, wait_status] {
    const std::string who = left_behind();
    if (who.empty()) return fault({FaultKind::ended, describe_end(wait_status, "", "")});
    fault({FaultKind::in_background,
           "it puts itself into the background: its main process ended with exit status 0 and left " + who +
               " running, which nobody would watch. Have `start` run it in the foreground (for example "
               "redis-server --daemonize no, nginx -g 'daemon off;', others -F or --foreground), and have a "
               "shell script `exec` it"});
  });
}

std::string Run::left_behind() const {
  for (const pid_t pid : around_.container.processes()) {
    const auto state = read_process_state(pid);
    if (state && !state->ended()) return state->name + " (process " + std::to_string(pid) + ")";
  }
  return "";
}

void Run::fault(Fault fault) {
  if (muted_) return;
  mute();
  const auto say = handlers_.fault;  // may destroy us
  say(std::move(fault));
}

std::string Run::evidence() {
  if (output_watch_) (void)read_output();
  return std::string(tail_.text());
}

}  // namespace understudy::agent

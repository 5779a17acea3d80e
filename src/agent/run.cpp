#include "agent/run.hpp"

#include "agent/os.hpp"

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
                                                      Container& container, Container& checks,
                                                      OutputTail& output, Handlers handlers) {
  const auto not_executable = [](const Error& error) {
    return tl::unexpected(Fault{FaultKind::not_executable, error.message});
  };
  auto user = find_user(definition.user, read_file(host.passwd_file).value_or(""));
  if (!user) return not_executable(user.error());

  std::unique_ptr<Run> run(new Run(host, definition, output, std::move(handlers)));
  auto* self = run.get();
  if (definition.ready == protocol::Ready::notify) {
    auto notify = NotifySocket::create(host.loop, host.run_directory + "/notify-" + definition.name, *user,
                                       [self] { self->ready(); });
    if (!notify) return not_executable(notify.error());
    run->notify_ = std::move(*notify);
  }
  SpawnRequest request{definition.start,
                       environment_of(definition, *user, run->notify_ ? run->notify_->path() : ""),
                       *user,
                       0,
                       &container,
                       definition.isolated,
                       definition.scratch};
  auto spawned = spawn(request);
  if (!spawned) return not_executable(spawned.error());
  run->pid_ = spawned->pid;
  run->output_ = std::move(spawned->output);
  run->exec_error_ = std::move(spawned->exec_error);
  request.container = &checks;
  request.isolated = false;
  if (definition.isolated) request.inside = run->pid_;
  run->monitor_ = std::make_unique<HealthMonitor>(
      host.loop, host.children, definition.health, run->pid_, std::move(request),
      HealthMonitor::Handlers{[self] { self->ready(); },
                              [self](std::string why) {
                                self->fault({FaultKind::unhealthy, std::move(why)});
                              }});
  host.children.expect(run->pid_, [self](int wait_status) { self->main_ended(wait_status); });
  run->output_watch_ = host.loop.watch(run->output_.get(), EPOLLIN, [self](std::uint32_t) {
    if (!self->read_output()) self->output_watch_.reset();
  });
  run->exec_watch_ = host.loop.watch(run->exec_error_.get(), EPOLLIN, [self](std::uint32_t) {
    if (auto never_executed = self->executed_or_not()) self->fault(std::move(*never_executed));
  });
  return run;
}

Run::~Run() {
  if (output_watch_) (void)read_output();
  if (!reaped_) host_.children.forget(pid_);
}

void Run::mute() {
  muted_ = true;
  monitor_.reset();
  exec_watch_.reset();
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
  fault(never_executed ? std::move(*never_executed) : Fault{FaultKind::ended, describe_end(wait_status)});
}

void Run::fault(Fault fault) {
  if (muted_) return;
  mute();
  const auto say = handlers_.fault;  // may destroy us
  say(std::move(fault));
}

std::string Run::why_not_ready() const {
  if (definition_.ready == protocol::Ready::notify) return "it has not said READY=1";
  const std::string failure = monitor_ ? monitor_->last_failure() : "";
  return failure.empty() ? "no check of its health has ended" : "its last check: " + failure;
}

std::string Run::evidence() {
  if (output_watch_) (void)read_output();
  return std::string(tail_.text());
}

}  // namespace understudy::agent

#include "base/inherited_state.hpp"
#include "base/version.hpp"
#include "control/claim.hpp"
#include "daemon/clean_up.hpp"
#include "daemon/daemon.hpp"
#include "gateway/gateway.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

namespace {

using namespace understudy;

// Whoever started us waits for one line on this descriptor: "ready", or what went wrong.
void tell_starter(int fd, const std::string& text) {
  if (fd < 0) return;
  const std::string line = text + "\n";
  if (::write(fd, line.data(), line.size()) < 0) fmt::print(stderr, "nobody waits for: {}\n", text);
  ::close(fd);
}

int clean_up(const std::filesystem::path& run_dir) {
  const Result<void> ours = control::check_claimed(run_dir);
  const auto lock = ours ? daemon::lock_run_dir(run_dir) : tl::unexpected(ours.error());
  const Result<void> removed = lock ? daemon::remove_all(run_dir) : tl::unexpected(lock.error());
  if (!removed) fmt::print(stderr, "understudyd: {}\n", removed.error().message);
  return removed ? 0 : 1;
}

int serve(const daemon::Options& options, int ready_fd) {
  // Inherited by nobody: a gateway or QEMU that held it would keep the starter waiting.
  if (ready_fd >= 0) ::fcntl(ready_fd, F_SETFD, FD_CLOEXEC);
  auto made = daemon::Daemon::create(options);
  if (!made) {
    fmt::print(stderr, "understudyd: {}\n", made.error().message);
    tell_starter(ready_fd, made.error().message);
    return 1;
  }
  tell_starter(ready_fd, "ready");
  return (*made)->run();
}

// From here on nothing depends on where and by whom it was started.
Result<void> become_independent(daemon::Options& options, int ready_fd) {
  for (std::filesystem::path* path : {&options.config, &options.config_dir, &options.run_dir}) {
    auto absolute = absolute_path(path->string());
    if (!absolute) return tl::unexpected(absolute.error());
    *path = *absolute;
  }
  return leave_starter({ready_fd});
}

}  // namespace

int main(int argc, char** argv) {
  auto state = enter_known_state(ProgramKind::service);
  daemon::Options options;
  std::string run_dir;
  int ready_fd = -1;
  bool cleans_up = false;
  std::string gateway_socket;
  CLI::App app{
      "understudyd - the VMM side of Understudy: owns the memory pool, runs the guests, takes over.\n"
      "`understudy up` starts it. SIGTERM ends it and leaves guests and applications running; the next\n"
      "`understudy up` resumes, also with a changed file.",
      "understudyd"};
  app.add_option("-f,--file", options.config, "the configuration");
  app.add_option("--config-dir", options.config_dir,
                 "where relative paths in the configuration are taken from (default: its own directory)");
  app.add_option("--run-dir", run_dir, "where its sockets, its journal and its areas are");
  app.add_option("--accelerator", options.accelerator, "kvm, tcg, or auto: as the configuration says")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}));
  app.add_option("--ready-fd", ready_fd, "descriptor that is told \"ready\", or what went wrong");
  app.add_flag("--clean-up", cleans_up, "end and remove what a daemon that died left in the run directory");
  app.add_option("--gateway", gateway_socket,
                 "be the gateway that holds the addresses; started by the daemon");
  app.set_version_flag("--version,-V", std::string("understudyd ") + version());
  CLI11_PARSE(app, argc, argv);

  const auto refuse = [&](const std::string& why) {
    fmt::print(stderr, "understudyd: {}\n", why);
    tell_starter(ready_fd, why);
    return 1;
  };
  if (!gateway_socket.empty()) return gateway::run_gateway({.control_socket = gateway_socket});
  if (!state) return refuse(state.error().message);
  const auto dir = control::run_dir(run_dir);
  if (!dir) return refuse(dir.error().message);
  options.run_dir = *dir;
  options.remarks = std::move(state->remarks);
  if (auto done = become_independent(options, ready_fd); !done) return refuse(done.error().message);
  if (cleans_up) return clean_up(options.run_dir);
  if (options.config.empty()) {
    fmt::print(stderr, "understudyd: name the configuration with -f FILE\n");
    return 2;
  }
  return serve(options, ready_fd);
}

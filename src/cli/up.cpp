#include "cli/cli.hpp"
#include "config/config.hpp"
#include "config/guest_users.hpp"
#include "control/client.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

namespace understudy::cli {

namespace {

namespace json = boost::json;

volatile std::sig_atomic_t interrupted = 0;

int print_errors(const config::Errors& errors) {
  for (const std::string& error : errors) fmt::print(stderr, "{}\n", error);
  return kCouldNot;
}

std::string who_qemu_runs_as(const config::Config& config, const std::filesystem::path& run_dir) {
  if (const auto uids = config::guest_uids(config, run_dir)) {
    return fmt::format("the guests' QEMUs run as users of their own: uids {} to {}", uids->first,
                       uids->first + uids->guests - 1);
  }
  return ::geteuid() == 0 ? "the guests' QEMUs run as root: run_as = \"daemon\" in [qemu]"
                          : "the guests' QEMUs run as this user";
}

enum class Progress { going_on, all_up, failed };

// All up: every application serves, and every hot standby job is protected, but for those in maintenance.
Progress progress_of(const json::object& status) {
  for (const json::value& value : status.at("applications").as_array()) {
    const json::object& app = value.as_object();
    const json::string& state = app.at("state").as_string();
    if (state == "failed") return Progress::failed;
    if (app.at("maintenance").as_bool()) continue;
    const bool is_protected = app.at("protected").as_bool() || !app.at("hot_standby").as_bool();
    if (state != "serving" || !is_protected) return Progress::going_on;
  }
  for (const json::value& value : status.at("guests").as_array()) {
    if (value.as_object().at("state").as_string() != "ready") return Progress::going_on;
  }
  return Progress::all_up;
}

// Shows events until everything is up (or, with `stay`, until the daemon ends or Ctrl-C).
Result<Progress> follow(const std::filesystem::path& socket, bool stay) {
  auto events = control::Client::connect(socket);
  if (!events) return tl::unexpected(events.error());
  Progress progress = Progress::going_on;
  std::string trouble;
  const Result<void> done = events->events(true, [&](const json::object& event) {
    print_event(event);
    if (interrupted != 0) return false;
    if (progress != Progress::going_on) return stay;
    auto asking = control::Client::connect(socket);
    const auto status = asking ? asking->ask(control::command::Status{}) : tl::unexpected(asking.error());
    if (!status) {
      trouble = status.error().message;
      return false;
    }
    progress = progress_of(status->as_object());
    if (progress == Progress::all_up) {
      std::puts("");
      print_status(status->as_object());
      std::puts("");
    }
    return progress == Progress::going_on || (progress == Progress::all_up && stay);
  });
  if (!done) return tl::unexpected(done.error());
  if (!trouble.empty()) return failure(trouble);
  return progress;
}

}  // namespace

int complain(const std::string& text) {
  fmt::print(stderr, "understudy: {}\n", text);
  return kCouldNot;
}

int check(const std::string& file, const Options& options) {
  const auto config = config::load(file);
  // Who the guests run as follows from the run directory; one that cannot be named is `up`'s to complain of.
  const auto dir = control::run_dir(options.run_dir).value_or(std::filesystem::path{});
  config::Errors errors = config ? config::check_host(*config, {.run_dir = dir}) : config.error();
  if (options.json) {
    json::array list;
    for (const std::string& error : errors) list.push_back(json::value(error));
    fmt::print("{}\n", json::serialize(json::object{{"ok", errors.empty()}, {"errors", std::move(list)}}));
    return errors.empty() ? kDone : kCouldNot;
  }
  if (!errors.empty()) return print_errors(errors);
  fmt::print("{}: {} guests and {} applications; it can be brought up here\n", file, config->guests.size(),
             config->applications.size());
  fmt::print("{}\n", who_qemu_runs_as(*config, dir));
  return kDone;
}

int up(const std::string& file, bool detach, const std::string& accelerator, const Options& options) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  const control::RunFiles files{*dir};
  if (control::Client::connect(files.control_socket())) {
    return complain("understudyd is already running in " + dir->string() +
                    "; see `understudy status`, end it with `understudy down`, or choose another --run-dir");
  }
  const auto config = config::load(file);
  if (!config) return print_errors(config.error());
  std::error_code error;
  const bool resumes = std::filesystem::exists(files.journal(), error);
  if (!resumes) {
    const config::Errors errors = config::check_host(*config, {.run_dir = *dir});
    if (!errors.empty()) return print_errors(errors);
  }
  std::filesystem::create_directories(*dir, error);
  if (!error) std::filesystem::permissions(*dir, std::filesystem::perms::owner_all, error);
  if (error) return complain("cannot use the run directory " + dir->string() + ": " + error.message());

  std::signal(SIGINT, [](int) { interrupted = 1; });
  fmt::print("  bringing up {} in {}{}\n", file, dir->string(),
             resumes ? ", resuming what a former daemon left" : "");
  std::fflush(stdout);
  const Result<void> started = start_daemon(file, *dir, accelerator);
  if (!started) return complain(started.error().message);
  const auto progress = follow(files.control_socket(), !detach);
  if (!detach && interrupted != 0) return down(options);
  if (!progress) return complain(progress.error().message + "; see " + files.daemon_log().string());
  if (*progress == Progress::failed)
    return complain("an application could not be started; see the events above");
  return *progress == Progress::all_up ? kDone
                                       : complain("understudyd ended; see " + files.daemon_log().string());
}

}  // namespace understudy::cli

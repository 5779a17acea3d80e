#include "base/cgroup.hpp"
#include "base/counted.hpp"
#include "cli/bring_up.hpp"
#include "cli/cli.hpp"
#include "cli/interrupt.hpp"
#include "config/config.hpp"
#include "config/guest_users.hpp"
#include "control/claim.hpp"
#include "control/client.hpp"
#include "control/event_log.hpp"
#include "link/told.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>

namespace understudy::cli {

namespace {

namespace json = boost::json;

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

// What the daemon writes of what is happening, from when this command was given.
class Follower {
 public:
  Follower(const std::filesystem::path& socket, const config::Config& config, bool stay,
           control::Waiting waiting)
      : socket_(socket), bring_up_(config), stay_(stay), waiting_(waiting) {}

  // Until it is known how it ends; with `stay` until the daemon ends, or whoever waits has had enough of it.
  Result<control::Client::End> follow(const std::string& since) {
    auto events = control::Client::connect(socket_, waiting_);
    if (!events) return tl::unexpected(events.error());
    const auto end = events->events(
        true,
        [&](const json::object& event) {
          return std::string_view(event.at("time").as_string()) < since || heard(event);
        },
        [&] { return silence(); });
    if (!trouble_.empty()) return failure(trouble_);
    return end;
  }
  [[nodiscard]] BringUp::Outcome outcome() const { return outcome_; }
  [[nodiscard]] const std::vector<std::string>& missing() const { return missing_; }

 private:
  bool heard(const json::object& event) {
    print_event(event);
    bring_up_.event(event);
    return judge([&](const json::object& status) { return bring_up_.status(status, now()); });
  }

  bool silence() {
    return judge([&](const json::object& status) { return bring_up_.silence(status); });
  }

  template <class Judge>
  bool judge(Judge&& outcome_of) {
    if (outcome_ == BringUp::Outcome::all_up) return true;
    const auto status = ask_status();
    if (!status) return lost(status.error());
    const auto before = std::exchange(outcome_, outcome_of(status->as_object()));
    if (outcome_ == BringUp::Outcome::going_on || outcome_ == before) return true;
    missing_ = bring_up_.troubles(status->as_object());
    std::puts("");
    print_status(status->as_object());
    std::puts("");
    if (stay_ && outcome_ == BringUp::Outcome::not_all) say_what_is_missing();
    std::fflush(stdout);
    return stay_;
  }

  // A daemon that does not answer for a while may do so again: who stays is told of it once, and stays.
  bool lost(const Error& error) {
    if (!stay_) {
      trouble_ = error.message;
      return false;
    }
    if (!std::exchange(told_, true)) complain(error.message);
    return true;
  }

  void say_what_is_missing() const {
    for (const std::string& each : missing_) complain(each);
  }

  Result<json::value> ask_status() {
    auto client = control::Client::connect(socket_, waiting_);
    auto status = client ? client->ask(control::command::Status{}) : tl::unexpected(client.error());
    if (status) told_ = false;
    return status;
  }

  static Time now() {
    return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }

  std::filesystem::path socket_;
  BringUp bring_up_;
  bool stay_;
  control::Waiting waiting_;
  BringUp::Outcome outcome_ = BringUp::Outcome::going_on;
  std::vector<std::string> missing_;
  std::string trouble_;
  bool told_ = false;
};

}  // namespace

int complain(const std::string& text) {
  fmt::print(stderr, "understudy: {}\n", text);
  return kCouldNot;
}

namespace {

// What stands against bringing it up here; `check` and `up` ask this one function.
config::Errors errors_of(const config::Config& config, config::HostCheck what,
                         std::vector<std::string>* not_seen) {
  config::Errors errors = link::check_told(config);
  const config::Errors of_host = config::check_host(config, std::move(what), not_seen);
  errors.insert(errors.end(), of_host.begin(), of_host.end());
  return errors;
}

}  // namespace

int check(const std::string& file, const Options& options) {
  const auto config = config::load(file);
  // Who the guests run as follows from the run directory; one that cannot be named is `up`'s to complain of.
  const auto dir = control::run_dir(options.run_dir).value_or(std::filesystem::path{});
  const bool runs = !dir.empty() && control::Client::listens(control::RunFiles{dir}.control_socket());
  const std::vector<std::string> none;
  std::vector<std::string> not_seen;
  config::Errors errors =
      config ? errors_of(*config, {.run_dir = dir, .runs = runs}, &not_seen) : config.error();
  if (options.json) {
    const auto list_of = [](const std::vector<std::string>& texts) {
      json::array list;
      for (const std::string& text : texts) list.push_back(json::value(text));
      return list;
    };
    fmt::print("{}\n",
               json::serialize(json::object{{"ok", errors.empty()},
                                            {"errors", list_of(errors)},
                                            {"remarks", list_of(config ? config::remarks(*config) : none)},
                                            {"not_looked_at", list_of(not_seen)}}));
    return errors.empty() ? kDone : kCouldNot;
  }
  if (!errors.empty()) return print_errors(errors);
  fmt::print("{}: {} and {}; it can be brought up here\n", file, counted(config->guests.size(), "guest"),
             counted(config->applications.size(), "application"));
  fmt::print("{}\n", who_qemu_runs_as(*config, dir));
  fmt::print("{}; see docs/configuration.md\n", cgroup_words(delegated_cgroup()));
  fmt::print("{}\n", kStateIsLost);
  for (const std::string& each : config::remarks(*config)) fmt::print("{}\n", each);
  for (const std::string& each : not_seen) fmt::print("not looked at: {}\n", each);
  return kDone;
}

namespace {

int not_all_up(const std::vector<std::string>& missing) {
  for (const std::string& each : missing) complain(each);
  return complain(
      "not everything is up, see above; what is up serves, and understudyd goes on trying the rest. Correct "
      "the "
      "configuration, then `understudy down` and up again");
}

// What follows the daemon's start: until all is up, or, in the foreground, until it ends.
int watch(const config::Config& config, const control::RunFiles& files, bool detach, const std::string& since,
          Interrupt& interrupt, const Options& options) {
  control::Waiting waiting = options.waiting();
  waiting.wake_fd = interrupt.fd();
  Follower follower(files.control_socket(), config, !detach, waiting);
  const auto end = follower.follow(since);
  if (interrupt.came() && detach) {
    return complain(
        "interrupted; understudyd goes on bringing it up. See `understudy status`, or end it with "
        "`understudy down`");
  }
  if (interrupt.came()) {
    fmt::print("\n  going down; once more to leave that to understudyd alone\n");
    std::fflush(stdout);
    interrupt.taken();
    return down(options);
  }
  if (!end) return complain(end.error().message + "; see " + files.daemon_log().string());
  if (*end == control::Client::End::daemon_ended)
    return complain("understudyd ended; see " + files.daemon_log().string());
  return follower.outcome() == BringUp::Outcome::all_up ? kDone : not_all_up(follower.missing());
}

}  // namespace

int up(const std::string& file, bool detach, const std::string& accelerator, const Options& options) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  const control::RunFiles files{*dir};
  Interrupt interrupt;
  if (control::Client::listens(files.control_socket())) {
    return complain("understudyd is already running in " + dir->string() +
                    "; see `understudy status`, end it with `understudy down`, or choose another --run-dir");
  }
  const auto source = config::read_source(file);
  const auto config = source ? config::load(*source) : tl::unexpected(source.error());
  if (!config) return print_errors(config.error());
  std::error_code error;
  const bool resumes = std::filesystem::exists(files.journal(), error);
  if (!resumes) {
    const config::Errors errors = errors_of(*config, {.run_dir = *dir}, nullptr);
    if (!errors.empty()) return print_errors(errors);
  }
  if (const auto claimed = control::claim(*dir); !claimed) return complain(claimed.error().message);

  fmt::print("  bringing up {} in {}{}\n", file, dir->string(),
             resumes ? ", resuming what a former daemon left" : "");
  for (const std::string& each : config::remarks(*config)) fmt::print("  {}\n", each);
  std::fflush(stdout);
  const std::string since = control::wall_clock();
  const Result<void> started = start_daemon(*source, *dir, accelerator);
  if (!started) return complain(started.error().message);
  return watch(*config, files, detach, since, interrupt, options);
}

}  // namespace understudy::cli

#include "base/inherited_state.hpp"
#include "base/units.hpp"
#include "base/version.hpp"
#include "cli/cli.hpp"
#include "config/suggest.hpp"

#include <CLI/CLI.hpp>

namespace {

using namespace understudy;

constexpr const char* kAbout =
    "understudy - hot standby for virtual machines without paying for the memory twice.\n"
    "An application runs in one guest; when it, or its whole OS, fails, the memory that it used moves to a "
    "second\n"
    "guest, which starts the same application.";

constexpr const char* kFooter =
    "Start here:\n"
    "  understudy check -f examples/redis.toml     is the configuration right, can this host carry it?\n"
    "  understudy up -f examples/redis.toml --detach\n"
    "  understudy status                           who serves, who waits, would a takeover work now?\n"
    "  understudy fault alpha --kind os-panic      a drill: really panics alpha's kernel\n"
    "  understudy report                           the takeover, phase by phase\n"
    "  understudy down\n"
    "Exit status: 0 done, 1 could not, 2 wrong usage.";

constexpr Duration kShortestTimeout = std::chrono::milliseconds(100);
constexpr Duration kLongestTimeout = std::chrono::hours(24);

struct Arguments {
  cli::Options options;
  std::string file = "understudy.toml";
  std::string accelerator = "auto";
  std::string app;
  std::string to;
  std::string target;
  std::string kind;
  std::string lasts;
  std::string timeout;
  bool ends = false;
  bool fence = false;
  bool starts = false;
  bool detach = false;
  bool no_wait = false;
  bool follow = false;
};

void add_file(CLI::App* command, Arguments& arguments) {
  command->add_option("-f,--file", arguments.file, "the configuration")->capture_default_str();
}

void add_json(CLI::App* command, Arguments& arguments) {
  command->add_flag("--json", arguments.options.json, "print JSON, for scripts");
}

int maintain(const Arguments& a) {
  if (a.ends) return cli::order(control::command::Maintenance{a.target, {}}, a.options);
  const auto lasts = a.lasts.empty() ? control::kUsualMaintenance : control::parse_maintenance(a.lasts);
  if (!lasts) {
    cli::complain("--for: " + lasts.error().message);
    return cli::kWrongUsage;
  }
  return cli::order(control::command::Maintenance{a.target, *lasts}, a.options);
}

constexpr const char* kAboutMaintenance =
    "hands off a guest or an application for a while: its faults are shown, and move nothing\n\n"
    "For work on a guest that looks like a fault (a debugger, a snapshot, a stopped QEMU), or to keep an\n"
    "application where it is. Until it ends, by itself or with --end, NAME's faults wait: an application "
    "whose\n"
    "guest fails meanwhile stays down and says why in `understudy status`; when maintenance ends it is "
    "taken\n"
    "over at once. Orders are not held up: `understudy takeover` moves an application out of the way first.\n"
    "A daemon that is started again remembers it.\n\n"
    "  understudy takeover redis                    off alpha, cleanly\n"
    "  understudy maintenance alpha --for 30m\n"
    "  understudy maintenance alpha --end";

constexpr const char* kAboutRehearse =
    "prove that a takeover would work, without one\n\n"
    "Attaches memory of the pool that nobody uses to the standby of an application, as a takeover\n"
    "would, has it confirmed from inside, and takes it back. With --start it also starts the\n"
    "application there, until it is healthy: in a network of its own, where it can neither reach\n"
    "anybody nor be reached, with every file system read-only but for empty scratch directories;\n"
    "then it is killed. The application itself serves on, and whoever needs the standby or its\n"
    "memory meanwhile gets it. `understudy status` says how long ago what was proven; it counts for\n"
    "a week, or for the application's proven_for.\n\n"
    "  understudy rehearse redis --start";

constexpr const char* kAboutTakeover =
    "planned switchover: stop the application cleanly, start it on its standby\n\n"
    "Its memory moves to the other guest, its contents do not: whatever the application had in memory or\n"
    "wrote to a file is lost, as at every takeover. Clients wait meanwhile, or are refused, as its\n"
    "while_down says. The command returns when the application serves again, with the report of it;\n"
    "exit status 1: it did not come to serve there.\n\n"
    "  understudy takeover redis\n"
    "  understudy takeover redis --to alpha --no-wait";

// What was most likely meant by words that are no command of ours; empty: nobody can tell.
std::string hint(const CLI::App& app, int argc, char** argv) {
  const auto parsed = app.get_subcommands();
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  for (int i = 1; i < argc; ++i) {
    const std::string_view word(argv[i]);
    if (word.ends_with(".toml") && !parsed.empty() && std::string_view(argv[i - 1]) != "-f" &&
        std::string_view(argv[i - 1]) != "--file") {
      return "name the configuration with -f: understudy " + parsed.front()->get_name() + " -f " +
             std::string(word);
    }
  }
  for (int i = 1; i < argc && parsed.empty(); ++i) {
    const std::string_view word(argv[i]);
    const std::string_view before(argv[i - 1]);
    if (word.starts_with('-') || before == "--run-dir" || before == "--timeout") continue;
    std::string meant = config::did_you_mean(word, {names.begin(), names.end()});
    if (meant.starts_with("; ")) meant.erase(0, 2);
    return "there is no command \"" + std::string(word) + "\"" + (meant.empty() ? "" : "; " + meant);
  }
  return "";
}

CLI::App* add_rehearse(CLI::App& app, Arguments& a) {
  auto* rehearse = app.add_subcommand("rehearse", kAboutRehearse);
  rehearse->add_option("application", a.app)->required();
  rehearse->add_flag("--start", a.starts, "start the application there too, in isolation");
  add_json(rehearse, a);
  return rehearse;
}

}  // namespace

int main(int argc, char** argv) {
  if (const auto state = enter_known_state(ProgramKind::command); !state)
    return cli::complain(state.error().message);
  Arguments a;
  CLI::App app{kAbout, "understudy"};
  app.footer(kFooter);
  app.require_subcommand(1);
  app.add_option("--run-dir", a.options.run_dir,
                 "where the daemon keeps its sockets and journal (default: $UNDERSTUDY_RUN_DIR, "
                 "/run/understudy as root, "
                 "else $XDG_RUNTIME_DIR/understudy)");
  app.add_option("--timeout", a.timeout,
                 "how long to wait for understudyd to answer, such as 30s (default: 10 s)");
  app.set_version_flag("--version,-V", std::string("understudy ") + version());
  app.fallthrough();

  auto* up = app.add_subcommand("up", "start the guests and the applications, and show how it goes");
  add_file(up, a);
  up->add_flag("--detach,-d", a.detach, "return when everything is up (else: stay, and go down with Ctrl-C)");
  up->add_option("--accelerator", a.accelerator,
                 "kvm, tcg, or auto: KVM if a quick probe shows that it runs guests")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}));
  auto* down =
      app.add_subcommand("down", "end everything and leave nothing behind, also after a crash of the daemon");
  auto* check =
      app.add_subcommand("check", "check a configuration and whether this host can carry it; starts nothing");
  add_file(check, a);
  add_json(check, a);
  auto* status =
      app.add_subcommand("status", "applications and guests, and whether a takeover would work now");
  add_json(status, a);
  auto* table =
      app.add_subcommand("table", "the resource management table: who has which memory, and who gets it");
  add_json(table, a);
  auto* takeover = app.add_subcommand("takeover", kAboutTakeover);
  takeover->add_option("application", a.app)->required();
  takeover->add_option("--to", a.to, "the guest to go to (default: the first that can take it)");
  takeover->add_flag("--fence", a.fence,
                     "end the guest if it does not let go of the memory, although others serve there");
  takeover->add_flag("--no-wait", a.no_wait,
                     "return when it has begun; else it is waited for, and told how it went");
  add_json(takeover, a);
  auto* rehearse = add_rehearse(app, a);
  auto* start = app.add_subcommand("start", "start an application that was given up");
  start->add_option("application", a.app)->required();
  add_json(start, a);
  auto* stop = app.add_subcommand(
      "stop", "stop an application cleanly, and leave it stopped; its memory becomes unused");
  stop->add_option("application", a.app)->required();
  add_json(stop, a);
  auto* logs =
      app.add_subcommand("logs", "the last lines that an application printed, in each of its guests");
  logs->add_option("application", a.app)->required();
  add_json(logs, a);
  auto* fault = app.add_subcommand("fault", "a drill: really cause a fault");
  fault->add_option("target", a.target, "a guest, or an application (then the guest where it runs)")
      ->required();
  fault->add_option("--kind", a.kind, "what to cause")
      ->required()
      ->check(CLI::IsMember({"os-panic", "os-hang", "qemu-kill", "app-exit", "app-crash", "app-hang",
                             "agent-silence", "vmm-kill"}));
  add_json(fault, a);
  auto* maintenance = app.add_subcommand("maintenance", kAboutMaintenance);
  maintenance->add_option("name", a.target, "a guest or an application")->required();
  auto* lasts = maintenance->add_option("--for", a.lasts,
                                        "how long, 1 s to 24 h, such as 30m or \"2 h\" (default: 1 h); "
                                        "asked again it begins anew");
  maintenance->add_flag("--end", a.ends, "it is over")->excludes(lasts);
  add_json(maintenance, a);
  auto* report = app.add_subcommand("report", "the last takeover, phase by phase");
  report->add_option("application", a.app, "of this application (default: the last of all)");
  add_json(report, a);
  auto* events = app.add_subcommand("events", "what happened");
  events->add_flag("--follow", a.follow, "go on showing what happens");
  add_json(events, a);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error), cli::kDone;
    if (const std::string meant = hint(app, argc, argv); !meant.empty()) {
      cli::complain(meant + "; `understudy --help` lists the commands");
      return cli::kWrongUsage;
    }
    app.exit(error);
    return cli::kWrongUsage;
  }
  if (!a.timeout.empty()) {
    const auto limit = parse_duration(a.timeout);
    if (!limit || *limit < kShortestTimeout || *limit > kLongestTimeout) {
      cli::complain("--timeout: " + (limit ? "write a duration from " + format_duration(kShortestTimeout) +
                                                 " to " + format_duration(kLongestTimeout)
                                           : limit.error().message));
      return cli::kWrongUsage;
    }
    a.options.answer_limit = *limit;
  }
  if (up->parsed()) return cli::up(a.file, a.detach, a.accelerator, a.options);
  if (down->parsed()) return cli::down(a.options);
  if (check->parsed()) return cli::check(a.file, a.options);
  if (status->parsed()) return cli::status(a.options);
  if (table->parsed()) return cli::table(a.options);
  if (takeover->parsed()) return cli::takeover({a.app, a.to, a.fence}, !a.no_wait, a.options);
  if (rehearse->parsed()) return cli::rehearse(a.app, a.starts, a.options);
  if (start->parsed()) return cli::order(control::command::Start{a.app}, a.options);
  if (stop->parsed()) return cli::order(control::command::Stop{a.app}, a.options);
  if (logs->parsed()) return cli::logs(a.app, a.options);
  if (fault->parsed())
    return cli::order(control::command::Fault{a.target, *control::fault_of(a.kind)}, a.options);
  if (maintenance->parsed()) return maintain(a);
  if (report->parsed()) return cli::report(a.app, a.options);
  return cli::events(a.follow, a.options);
}

#include "base/inherited_state.hpp"
#include "base/units.hpp"
#include "base/version.hpp"
#include "cli/cli.hpp"
#include "cli/commands.hpp"
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

// How long a command waits for the daemon, into `options`; false: no usable duration, and that was said.
bool set_answer_limit(const std::string& text, cli::Options& options) {
  if (text.empty()) return true;
  const auto limit = parse_duration(text);
  if (limit && *limit >= kShortestTimeout && *limit <= kLongestTimeout) {
    options.answer_limit = *limit;
    return true;
  }
  cli::complain("--timeout: " + (limit ? "write a duration from " + format_duration(kShortestTimeout) +
                                             " to " + format_duration(kLongestTimeout)
                                       : limit.error().message));
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (const auto state = enter_known_state(ProgramKind::command); !state)
    return cli::complain(state.error().message);
  cli::Arguments a;
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
  const cli::Commands commands(app, a);

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
  if (!set_answer_limit(a.timeout, a.options)) return cli::kWrongUsage;
  return commands.run();
}

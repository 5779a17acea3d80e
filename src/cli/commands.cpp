#include "cli/commands.hpp"

#include <utility>

namespace understudy::cli {

namespace {

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

int maintain(const Arguments& a) {
  if (a.ends) return order(control::command::Maintenance{a.target, {}}, a.options);
  const auto lasts = a.lasts.empty() ? control::kUsualMaintenance : control::parse_maintenance(a.lasts);
  if (!lasts) {
    complain("--for: " + lasts.error().message);
    return kWrongUsage;
  }
  return order(control::command::Maintenance{a.target, *lasts}, a.options);
}

}  // namespace

Commands::Commands(CLI::App& app, Arguments& arguments) : app_(app), a_(arguments) {
  add_whole_system();
  add_looking();
  add_orders();
  add_drills();
}

int Commands::run() const {
  for (const Command& command : commands_) {
    if (command.words->parsed()) return command.perform();
  }
  return kWrongUsage;
}

CLI::App* Commands::add(const char* name, const char* about, std::function<int()> perform) {
  CLI::App* words = app_.add_subcommand(name, about);
  commands_.push_back({words, std::move(perform)});
  return words;
}

void Commands::add_application(CLI::App* command) {
  command->add_option("application", a_.app)->required();
}

void Commands::add_file(CLI::App* command) {
  command->add_option("-f,--file", a_.file, "the configuration")->capture_default_str();
}

void Commands::add_json(CLI::App* command) {
  command->add_flag("--json", a_.options.json, "print JSON, for scripts");
}

void Commands::add_whole_system() {
  auto* all = add("up", "start the guests and the applications, and show how it goes",
                  [this] { return up(a_.file, a_.detach, a_.accelerator, a_.options); });
  add_file(all);
  all->add_flag("--detach,-d", a_.detach,
                "return when everything is up (else: stay, and go down with Ctrl-C)");
  all->add_option("--accelerator", a_.accelerator,
                  "kvm, tcg, or auto: KVM if a quick probe shows that it runs guests")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}));
  add("down", "end everything and leave nothing behind, also after a crash of the daemon",
      [this] { return down(a_.options); });
  auto* file = add("check", "check a configuration and whether this host can carry it; starts nothing",
                   [this] { return check(a_.file, a_.options); });
  add_file(file);
  add_json(file);
}

void Commands::add_looking() {
  add_json(add("status", "applications and guests, and whether a takeover would work now",
               [this] { return status(a_.options); }));
  add_json(add("table", "the resource management table: who has which memory, and who gets it",
               [this] { return table(a_.options); }));
  auto* last =
      add("report", "the last takeover, phase by phase", [this] { return report(a_.app, a_.options); });
  last->add_option("application", a_.app, "of this application (default: the last of all)");
  add_json(last);
  auto* happened = add("events", "what happened", [this] { return events(a_.follow, a_.options); });
  happened->add_flag("--follow", a_.follow, "go on showing what happens");
  add_json(happened);
  auto* lines = add("logs", "the last lines that an application printed, in each of its guests",
                    [this] { return logs(a_.app, a_.options); });
  add_application(lines);
  add_json(lines);
}

void Commands::add_orders() {
  auto* move = add("takeover", kAboutTakeover, [this] {
    return takeover({a_.app, a_.to, a_.fence}, !a_.no_wait, a_.options);
  });
  add_application(move);
  move->add_option("--to", a_.to, "the guest to go to (default: the first that can take it)");
  move->add_flag("--fence", a_.fence,
                 "end the guest if the application does not end, or the memory does not leave, although "
                 "others are there");
  move->add_flag("--no-wait", a_.no_wait,
                 "return when it has begun; else it is waited for, and told how it went");
  add_json(move);
  auto* begin = add("start", "start an application that was given up",
                    [this] { return order(control::command::Start{a_.app}, a_.options); });
  add_application(begin);
  add_json(begin);
  auto* end = add("stop", "stop an application cleanly, and leave it stopped; its memory becomes unused",
                  [this] { return order(control::command::Stop{a_.app}, a_.options); });
  add_application(end);
  add_json(end);
  auto* hands_off = add("maintenance", kAboutMaintenance, [this] { return maintain(a_); });
  hands_off->add_option("name", a_.target, "a guest or an application")->required();
  auto* lasts = hands_off->add_option("--for", a_.lasts,
                                      "how long, 1 s to 24 h, such as 30m or \"2 h\" (default: 1 h); "
                                      "asked again it begins anew");
  hands_off->add_flag("--end", a_.ends, "it is over")->excludes(lasts);
  add_json(hands_off);
}

void Commands::add_drills() {
  auto* proof = add("rehearse", kAboutRehearse, [this] { return rehearse(a_.app, a_.starts, a_.options); });
  add_application(proof);
  proof->add_flag("--start", a_.starts, "start the application there too, in isolation");
  add_json(proof);
  auto* fault = add("fault", "a drill: really cause a fault", [this] {
    return order(control::command::Fault{a_.target, *control::fault_of(a_.kind)}, a_.options);
  });
  fault->add_option("target", a_.target, "a guest, or an application (then the guest where it runs)")
      ->required();
  fault->add_option("--kind", a_.kind, "what to cause")
      ->required()
      ->check(CLI::IsMember({"os-panic", "os-hang", "qemu-kill", "app-exit", "app-crash", "app-hang",
                             "agent-silence", "vmm-kill"}));
  add_json(fault);
}

}  // namespace understudy::cli

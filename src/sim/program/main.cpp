// understudy-sim: runs seeds until a limit, prints what happened, exits 1 when a promise was broken.
#include "base/version.hpp"
#include "sim/simulation.hpp"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <string>

#include <CLI/CLI.hpp>

namespace {

using understudy::Duration;
using understudy::to_ms;
using namespace understudy::sim;

struct Options {
  std::uint64_t first = 1;
  std::uint64_t last = 0;  // 0: until another limit
  double minutes = 0;
  std::uint64_t takeovers = 0;
  std::uint32_t guests = 0;
  std::uint32_t apps = 0;
  double weather_s = 60;
  bool trace = false;
};

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t first_starts = 0;
  std::uint64_t rehearsals_passed = 0;
  std::uint64_t rehearsals_failed = 0;
  std::uint64_t claims = 0;  // of "protected", found true
  std::uint64_t undecided = 0;
  std::uint64_t events = 0;
  std::uint64_t daemons = 0;
  double virtual_s = 0;
  std::array<std::uint64_t, kFaultNames> caused{};
};

std::uint64_t current_seed = 0;

// The core aborts where its own invariants break: say which seed to look at.
void on_abort(int) {
  char text[96];
  const int length = std::snprintf(text, sizeof text, "understudy-sim: aborted at --seed %llu\n",
                                   static_cast<unsigned long long>(current_seed));
  if (length > 0) static_cast<void>(::write(STDERR_FILENO, text, static_cast<std::size_t>(length)));
}

Shape shape_of(std::uint64_t seed, const Options& options) {
  Random random(seed);
  Shape shape = draw_shape(random, options.guests, options.apps);
  return shape;
}

void print_stamped(const Simulation& simulation, const std::string& text) {
  std::printf("%12.3f ms  %s\n", to_ms(simulation.world.now() - understudy::Time{}), text.c_str());
}

// The same seed again, this time with a trace of its last events.
void print_tail(std::uint64_t seed, const Options& options, const Simulation::Limits& limits) {
  constexpr std::size_t kTail = 120;
  std::deque<std::string> tail;
  Simulation simulation(shape_of(seed, options), seed);
  simulation.world.trace = [&](const std::string& text) {
    if (text.find("'s agent beats") != std::string::npos) return;
    char stamp[32];
    std::snprintf(stamp, sizeof stamp, "%12.3f ms  ", to_ms(simulation.world.now() - understudy::Time{}));
    tail.push_back(stamp + text);
    if (tail.size() > kTail) tail.pop_front();
  };
  simulation.run(limits);
  for (const std::string& line : tail) std::printf("%s\n", line.c_str());
}

bool run_seed(std::uint64_t seed, const Options& options, Totals& totals) {
  current_seed = seed;
  const Simulation::Limits limits{.weather = Duration(static_cast<std::int64_t>(options.weather_s * 1e6))};
  Simulation simulation(shape_of(seed, options), seed);
  if (options.trace) {
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed),
                describe(simulation.world.shape).c_str());
    std::fflush(stdout);
    simulation.trace_trials = true;
    simulation.world.trace = [&](const std::string& text) {
      if (text.find("'s agent beats") == std::string::npos) print_stamped(simulation, text);
    };
  }
  simulation.run(limits);
  ++totals.seeds;
  totals.takeovers += simulation.observer.takeovers;
  totals.first_starts += simulation.observer.first_starts;
  totals.rehearsals_passed += simulation.observer.rehearsals_passed;
  totals.rehearsals_failed += simulation.observer.rehearsals_failed;
  totals.claims += simulation.trials.claims;
  totals.undecided += simulation.trials.undecided;
  totals.events += simulation.world.timeline.happened();
  totals.daemons += (simulation.world.daemon - 1) / 2;
  totals.virtual_s += to_ms(simulation.world.now() - understudy::Time{}) / 1000;
  for (std::size_t i = 0; i < kFaultNames; ++i) totals.caused[i] += simulation.nemesis.caused[i];
  const auto& violation = simulation.violation();
  if (!violation) return true;
  if (!options.trace) print_tail(seed, options, limits);
  std::printf("VIOLATION seed %llu at %.3f ms: %s\n  replay: understudy-sim --seed %llu --trace\n",
              static_cast<unsigned long long>(seed), to_ms(violation->at - understudy::Time{}),
              violation->what.c_str(), static_cast<unsigned long long>(seed));
  return false;
}

void print_totals(const Totals& totals, double cpu_seconds, std::uint64_t violations) {
  std::printf("seeds %llu, virtual time %.0f s, events %llu\n", static_cast<unsigned long long>(totals.seeds),
              totals.virtual_s, static_cast<unsigned long long>(totals.events));
  std::printf("faults:");
  for (std::size_t i = 0; i < kFaultNames; ++i) {
    if (totals.caused[i] == 0) continue;
    std::printf(" %s %llu", fault_name(static_cast<FaultName>(i)),
                static_cast<unsigned long long>(totals.caused[i]));
  }
  std::printf("\nrehearsals passed %llu, ended or failed %llu",
              static_cast<unsigned long long>(totals.rehearsals_passed),
              static_cast<unsigned long long>(totals.rehearsals_failed));
  std::printf("\n\"protected\" tried and found true %llu times, undecided trials %llu",
              static_cast<unsigned long long>(totals.claims),
              static_cast<unsigned long long>(totals.undecided));
  std::printf(
      "\nfirst starts %llu, takeovers %llu, %.0f takeovers per CPU second, restarts of the daemon %llu, "
      "violations %llu\n",
      static_cast<unsigned long long>(totals.first_starts), static_cast<unsigned long long>(totals.takeovers),
      static_cast<double>(totals.takeovers) / cpu_seconds, static_cast<unsigned long long>(totals.daemons),
      static_cast<unsigned long long>(violations));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Runs the shipped core and engine in virtual time, with faults, and checks every promise."};
  std::uint64_t seed = 0;
  std::string seeds;
  bool keep_going = false;
  app.add_option("--seed", seed, "one seed");
  app.add_option("--seeds", seeds, "a range of seeds, A..B");
  app.add_option("--minutes", options.minutes, "stop after this much real time");
  app.add_option("--takeovers", options.takeovers, "stop after this many takeovers");
  app.add_option("--guests", options.guests, "guests in every run (drawn otherwise)")
      ->check(CLI::Range(1, 5));
  app.add_option("--apps", options.apps, "applications in every run (drawn otherwise)")
      ->check(CLI::Range(1, 6));
  app.add_option("--weather", options.weather_s, "virtual seconds of faults in every run");
  app.add_flag("--trace", options.trace, "print everything that happens");
  app.add_flag("--keep-going", keep_going, "go on after a violation");
  app.set_version_flag("--version,-V", std::string("understudy-sim ") + understudy::version());
  CLI11_PARSE(app, argc, argv);
  if (seed != 0) options.first = options.last = seed;
  if (!seeds.empty()) {
    const std::size_t dots = seeds.find("..");
    char* end = nullptr;
    options.first = std::strtoull(seeds.c_str(), &end, 10);
    options.last =
        dots == std::string::npos ? options.first : std::strtoull(seeds.c_str() + dots + 2, &end, 10);
    if (options.last < options.first || *end != '\0') {
      std::fprintf(stderr, "--seeds wants A..B, as in --seeds 1..100\n");
      return 2;
    }
  }
  if (options.last == 0 && options.minutes <= 0 && options.takeovers == 0) options.last = 100;

  std::signal(SIGABRT, on_abort);
  Totals totals;
  std::uint64_t violations = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto cpu_s = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  const auto elapsed_s = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  for (std::uint64_t s = options.first; options.last == 0 || s <= options.last; ++s) {
    if (options.minutes > 0 && elapsed_s() > options.minutes * 60) break;
    if (options.takeovers > 0 && totals.takeovers >= options.takeovers) break;
    if (run_seed(s, options, totals)) continue;
    ++violations;
    if (!keep_going) break;
  }
  print_totals(totals, cpu_s(), violations);
  return violations == 0 ? 0 : 1;
}

#include "sim/shape.hpp"

#include <algorithm>

namespace understudy::sim {

namespace {

const std::vector<std::string> kGuestNames = {"alpha", "beta", "gamma", "delta", "epsilon"};
const std::vector<std::string> kAppNames = {"db", "web", "queue", "cache", "voice", "plc"};

constexpr Bytes kAreaBytes = 128_MiB;

core::GuestSetup plain_guest(const std::string& name) {
  core::GuestSetup guest;
  guest.name = name;
  guest.base_bytes = 128_MiB;
  guest.overhead_bytes = 96_MiB;
  guest.slots = 32;
  guest.boot_limit = std::chrono::seconds(20);
  guest.heartbeat_limit = std::chrono::milliseconds(500);
  guest.hang_confirm = std::chrono::milliseconds(300);
  guest.silent_agent_limit = std::chrono::seconds(15);
  return guest;
}

core::AppSetup plain_app(const std::string& name, const std::vector<core::GuestId>& guests) {
  core::AppSetup app;
  app.name = name;
  app.guests = guests;
  app.desired_bytes = app.minimum_bytes = app.maximum_bytes = 500_MiB;
  app.hot_standby = guests.size() > 1;
  app.start_limit = std::chrono::seconds(10);
  app.stop_limit = std::chrono::seconds(5);
  app.release_limit = std::chrono::seconds(3);
  app.has_address = true;
  app.flap_takeovers = 0;
  return app;
}

void set_budget(core::Setup& setup) {
  setup.pool.budget_bytes = setup.pool.area_count * setup.pool.area_bytes;
  for (const core::GuestSetup& guest : setup.guests) {
    setup.pool.budget_bytes += guest.base_bytes + guest.overhead_bytes;
  }
}

core::GuestSetup draw_guest(Random& random, const std::string& name, bool domains) {
  core::GuestSetup guest = plain_guest(name);
  guest.base_bytes = random.between(6, 16) * 16_MiB;
  guest.slots = static_cast<std::uint32_t>(random.chance(0.7) ? 40 : random.between(2, 10));
  if (domains) guest.trust_domain = random.chance(0.5) ? "red" : "blue";
  guest.boot_limit = std::chrono::seconds(random.between(5, 20));
  guest.heartbeat_limit = std::chrono::milliseconds(random.between(200, 800));
  guest.hang_confirm = std::chrono::milliseconds(random.between(0, 600));
  guest.silent_agent_limit = random.chance(0.5) ? Duration{} : std::chrono::seconds(random.between(1, 15));
  guest.dump = guest.slots < 40;
  return guest;
}

core::AppSetup draw_app(Random& random, const std::string& name, std::size_t guest_count) {
  std::vector<core::GuestId> guests;
  for (std::uint32_t i = 0; i < guest_count; ++i) guests.push_back(core::GuestId{i});
  random.shuffle(guests);
  guests.resize(random.between(1, guest_count));
  core::AppSetup app = plain_app(name, guests);
  app.hot_standby = guests.size() > 1 && random.chance(0.85);
  app.desired_bytes = random.between(1, 60) * 16_MiB;
  app.minimum_bytes =
      random.chance(0.5)
          ? app.desired_bytes
          : static_cast<Bytes>(static_cast<double>(app.desired_bytes) * random.fraction(0.3, 1.0));
  app.maximum_bytes =
      random.chance(0.5) ? app.desired_bytes : app.desired_bytes + random.between(1, 4) * kAreaBytes;
  app.priority = static_cast<int>(random.below(3));
  app.start_limit = std::chrono::milliseconds(random.between(3000, 8000));
  app.stop_limit = std::chrono::milliseconds(random.between(300, 5000));
  app.release_limit = std::chrono::milliseconds(random.between(300, 3000));
  app.has_address = random.chance(0.8);
  app.on_release_limit = random.chance(0.2) ? core::OnReleaseLimit::take_part : core::OnReleaseLimit::fence;
  app.preempts = random.chance(0.2);
  app.flap_takeovers = random.chance(0.2) ? static_cast<std::uint32_t>(random.between(1, 10)) : 0;
  return app;
}

// In a swarm not every fault is there at once: each run leaves some out, so that what one hides another
// shows.
void draw_weather(Random& random, Shape& shape) {
  const auto maybe = [&](FaultName fault, double probability, double weight) {
    if (random.chance(probability)) shape.weight(fault) = weight * random.fraction(0.2, 1.0);
  };
  maybe(FaultName::panic, 0.8, 4);
  maybe(FaultName::panic_unseen, 0.3, 1);
  maybe(FaultName::hang, 0.4, 1);
  maybe(FaultName::hang_short, 0.4, 1);
  maybe(FaultName::vmm_stop, 0.3, 1);
  maybe(FaultName::vmm_stop_short, 0.4, 1);
  maybe(FaultName::vmm_kill, 0.6, 3);
  maybe(FaultName::agent_silent, 0.3, 1);
  maybe(FaultName::agent_silent_short, 0.4, 1);
  maybe(FaultName::agent_lost, 0.4, 1);
  maybe(FaultName::app_exit, 0.5, 2);
  maybe(FaultName::app_failed, 0.6, 3);
  maybe(FaultName::app_hang, 0.4, 1);
  maybe(FaultName::app_wants, 0.5, 2);
  maybe(FaultName::app_oom, 0.3, 1);
  maybe(FaultName::journal, 0.3, 1);
  maybe(FaultName::lie, 0.4, 2);
  maybe(FaultName::switchover, 0.6, 3);
  maybe(FaultName::stop_order, 0.3, 1);
  maybe(FaultName::down_and_up, 0.15, 0.2);
  maybe(FaultName::maintenance, 0.2, 1);
  maybe(FaultName::daemon_death, 0.5, 2);

  const auto odds = [&](double probability, double highest) {
    return random.chance(probability) ? random.fraction(0, highest) : 0;
  };
  shape.odds.launch_fails = odds(0.3, 0.1);
  shape.odds.boot_hangs = odds(0.3, 0.05);
  shape.odds.fence_slow = odds(0.3, 0.1);
  shape.odds.plug_fails = odds(0.3, 0.02);
  shape.odds.plug_silent = odds(0.2, 0.005);
  shape.odds.unplug_fails = odds(0.3, 0.05);
  shape.odds.need_silent = odds(0.2, 0.02);
  shape.odds.engage_fails = odds(0.3, 0.05);
  shape.odds.engage_silent = odds(0.2, 0.02);
  shape.odds.start_fails = odds(0.4, 0.15);
  shape.odds.start_hangs = odds(0.3, 0.05);
  shape.odds.stop_fails = odds(0.3, 0.1);
  shape.odds.stop_hangs = odds(0.3, 0.05);
  shape.odds.release_partial = odds(0.3, 0.1);
  shape.odds.release_hangs = odds(0.3, 0.05);
  shape.odds.release_lies = odds(0.3, 0.1);
  shape.odds.scrub_fails = odds(0.3, 0.1);
  shape.odds.twice = odds(0.4, 0.2);
  shape.odds.from_grave = odds(0.6, 1.0);
}

// Last of all, so that what a seed draws otherwise does not depend on it.
void draw_vcpus(Random& random, Shape& shape) {
  if (random.chance(0.5)) return;
  for (core::AppSetup& app : shape.setup.apps) app.vcpus = static_cast<std::uint32_t>(random.below(4));
  shape.odds.vcpus_missing = random.chance(0.3) ? random.fraction(0, 0.3) : 0;
  shape.odds.vcpus_kept = random.chance(0.3) ? random.fraction(0, 0.3) : 0;
  shape.odds.vcpus_silent = random.chance(0.3) ? random.fraction(0, 0.05) : 0;
}

// After everything else, for the same reason.
void draw_rehearsals(Random& random, Shape& shape) {
  if (random.chance(0.4)) return;
  shape.setup = core::with_rehearsals(shape.setup);
  for (core::AppSetup& app : shape.setup.apps)
    app.proven_for = std::chrono::milliseconds(random.between(100, 30'000));
  shape.weight(FaultName::rehearse) = random.fraction(1, 10);
  // Without unused areas there is nothing to rehearse with.
  if (!random.chance(0.7)) return;
  shape.setup.pool.area_count += static_cast<std::uint32_t>(random.between(1, 6));
  set_budget(shape.setup);
}

void draw_clock(Random& random, Shape& shape) {
  if (random.chance(0.3)) shape.weight(FaultName::clock_jump) = random.fraction(0.2, 2);
  if (random.chance(0.3)) shape.weight(FaultName::daemon_stall) = random.fraction(0.2, 2);
  if (random.chance(0.4)) shape.weight(FaultName::suspend) = random.fraction(0.2, 2);
  if (random.chance(0.4)) shape.weight(FaultName::signal_cont) = random.fraction(1, 5);
  if (random.chance(0.4)) shape.weight(FaultName::monitor_cont) = random.fraction(1, 5);
}

void draw_undying(Random& random, Shape& shape) {
  if (random.chance(0.3)) shape.weight(FaultName::app_undying) = random.fraction(0.2, 2);
}

void draw_host(Random& random, Shape& shape) {
  if (random.chance(0.3)) shape.weight(FaultName::host_refuses) = random.fraction(0.2, 2);
  if (random.chance(0.3)) shape.weight(FaultName::agent_restart) = random.fraction(0.2, 2);
  if (random.chance(0.3)) shape.odds.plug_refused = random.fraction(0, 0.1);
  if (random.chance(0.3)) shape.odds.unplug_refused = random.fraction(0, 0.1);
}

void draw_ejects(Random& random, Shape& shape) {
  if (random.chance(0.6)) return;
  shape.weight(FaultName::eject) = random.fraction(0.2, 4);
  shape.weight(FaultName::eject_unseen) = random.fraction(0.2, 2);
  shape.look = std::chrono::milliseconds(random.between(500, 1500));
}

// Limits that several reach together, and windows that pass while somebody looks.
void draw_flapping(Random& random, Shape& shape) {
  if (random.chance(0.7)) return;
  for (core::AppSetup& app : shape.setup.apps) {
    if (app.rehearses || random.chance(0.2)) continue;
    app.flap_takeovers = static_cast<std::uint32_t>(random.between(1, 2));
    app.flap_window = std::chrono::seconds(random.between(3, 30));
  }
}

}  // namespace

namespace {

void change_guest(Random& random, core::GuestSetup& guest) {
  if (random.chance(0.3)) guest.base_bytes = random.between(7, 16) * 16_MiB;
  if (random.chance(0.3)) guest.slots = static_cast<std::uint32_t>(random.between(1, 40));
  if (random.chance(0.3)) guest.trust_domain = random.chance(0.5) ? "red" : "blue";
  if (random.chance(0.2)) guest.vcpus = static_cast<std::uint32_t>(random.between(1, 4));
  if (random.chance(0.2)) guest.heartbeat_limit = std::chrono::milliseconds(random.between(200, 800));
  if (random.chance(0.2)) guest.dump = random.chance(0.5);
}

void change_app(Random& random, core::AppSetup& app) {
  if (random.chance(0.3)) {
    app.desired_bytes = random.between(1, 60) * 16_MiB;
    app.minimum_bytes = std::min(app.minimum_bytes, app.desired_bytes);
    app.maximum_bytes = app.desired_bytes + random.below(4) * kAreaBytes;
  }
  if (random.chance(0.3)) app.priority = static_cast<int>(random.below(3));
  if (random.chance(0.3)) random.shuffle(app.guests);
  if (random.chance(0.2)) app.preempts = random.chance(0.5);
  if (random.chance(0.2)) app.start_limit = std::chrono::milliseconds(random.between(3000, 8000));
  if (random.chance(0.2)) app.release_limit = std::chrono::milliseconds(random.between(300, 3000));
  // Not back again: what a guest has kept until its end would be nobody's to wait for.
  if (random.chance(0.1)) app.on_release_limit = core::OnReleaseLimit::take_part;
}

}  // namespace

void change_setup(Random& random, core::Setup& setup) {
  for (core::GuestSetup& guest : setup.guests) change_guest(random, guest);
  const bool rehearses =
      std::erase_if(setup.apps, [](const auto& app) { return app.rehearses.has_value(); }) > 0;
  for (core::AppSetup& app : setup.apps) change_app(random, app);
  if (rehearses) setup = core::with_rehearsals(std::move(setup));  // the twins are of the changed ones
}

Shape plain_shape(std::size_t guests, std::size_t apps) {
  Shape shape;
  std::vector<core::GuestId> ids;
  for (std::uint32_t i = 0; i < guests; ++i) {
    shape.setup.guests.push_back(plain_guest(kGuestNames.at(i)));
    shape.os_bytes.push_back(100_MiB);
    ids.push_back(core::GuestId{i});
  }
  for (std::size_t i = 0; i < apps; ++i) shape.setup.apps.push_back(plain_app(kAppNames.at(i), ids));
  shape.setup.pool.area_bytes = kAreaBytes;
  shape.setup.pool.area_count = static_cast<std::uint32_t>(4 * apps);
  shape.timing.slow = 0;
  set_budget(shape.setup);
  return shape;
}

Shape draw_shape(Random& random, std::size_t guests, std::size_t apps) {
  Shape shape;
  if (guests == 0) guests = random.between(2, random.chance(0.7) ? 3 : 5);
  if (apps == 0) apps = random.between(1, random.chance(0.7) ? 3 : 6);
  const bool domains = random.chance(0.25);
  for (std::size_t i = 0; i < guests; ++i) {
    shape.setup.guests.push_back(draw_guest(random, kGuestNames[i], domains));
    shape.os_bytes.push_back(random.between(50, 90) * 1_MiB);
  }
  std::uint32_t wanted = 0;
  for (std::size_t i = 0; i < apps; ++i) {
    shape.setup.apps.push_back(draw_app(random, kAppNames[i], guests));
    wanted += static_cast<std::uint32_t>(shape.setup.apps.back().desired_bytes / kAreaBytes) + 1;
  }
  shape.setup.pool.area_bytes = kAreaBytes;
  // From too tight for all applications at once to plenty.
  shape.setup.pool.area_count = std::max(2U, static_cast<std::uint32_t>(wanted * random.fraction(0.6, 1.6)));
  set_budget(shape.setup);
  shape.timing.beat = std::chrono::milliseconds(random.between(40, 100));
  shape.timing.slow = random.chance(0.5) ? random.fraction(0, 0.05) : 0;
  shape.fault_gap.longest = std::chrono::milliseconds(random.between(500, 4000));
  shape.follow_up = random.fraction(0, 0.6);
  shape.most_restarts = static_cast<std::uint32_t>(random.between(0, 5));
  draw_weather(random, shape);
  draw_vcpus(random, shape);
  draw_rehearsals(random, shape);
  draw_clock(random, shape);
  if (random.chance(0.3)) shape.odds.unreachable = random.fraction(0, 0.2);
  draw_undying(random, shape);
  draw_host(random, shape);
  if (random.chance(0.5)) shape.file_changes = random.fraction(0.2, 1.0);
  draw_ejects(random, shape);
  draw_flapping(random, shape);
  return shape;
}

std::string describe(const Shape& shape) {
  std::string text = std::to_string(shape.setup.pool.area_count) + " areas";
  for (const core::GuestSetup& guest : shape.setup.guests) {
    text += "; " + guest.name + " " + format_size(guest.base_bytes) + " " + std::to_string(guest.slots) +
            " slots " + guest.trust_domain;
  }
  for (const core::AppSetup& app : shape.setup.apps) {
    text += "; " + app.name + " " + format_size(app.minimum_bytes) + ".." + format_size(app.desired_bytes) +
            ".." + format_size(app.maximum_bytes) + (app.hot_standby ? " hot standby" : "") + " on";
    for (const core::GuestId id : app.guests) text += " " + shape.setup.guest(id).name;
  }
  return text;
}

}  // namespace understudy::sim

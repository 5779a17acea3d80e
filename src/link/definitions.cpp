#include "link/definitions.hpp"

#include "protocol/codec.hpp"

#include <algorithm>
#include <optional>
#include <string_view>
#include <variant>

namespace understudy::link {

namespace {

protocol::Health health_of(const config::Health& health) {
  protocol::Health out;
  switch (health.kind) {
    case config::HealthKind::process: out.kind = protocol::HealthKind::process; break;
    case config::HealthKind::tcp: out.kind = protocol::HealthKind::tcp; break;
    case config::HealthKind::exec: out.kind = protocol::HealthKind::exec; break;
  }
  out.port = health.port;
  out.command = health.command;
  out.interval_ms = std::max<std::uint64_t>(1, whole_ms(health.interval));
  out.limit_ms = std::max<std::uint64_t>(1, whole_ms(health.limit));
  out.failures = std::max<std::uint32_t>(1, health.failures);
  return out;
}

protocol::Application definition_of(const config::Application& app, std::uint32_t number) {
  protocol::Application out;
  out.app = number;
  out.name = app.name;
  out.start = app.start;
  out.prepare = app.prepare;
  for (const auto& [name, value] : app.environment) out.environment.push_back({name, value});
  out.user = app.user;
  out.ready = app.ready_notify ? protocol::Ready::notify : protocol::Ready::health;
  out.health = health_of(app.health);
  const bool takeover = app.restart.first == core::FirstResort::takeover;
  out.restart = {app.restart.attempts, whole_ms(app.restart.window), whole_ms(app.restart.delay),
                 whole_ms(app.restart.maximum_delay),
                 takeover ? protocol::FirstResort::takeover : protocol::FirstResort::restart};
  out.start_limit_ms = std::max<std::uint64_t>(1, whole_ms(app.start_limit));
  out.stop_limit_ms = whole_ms(app.stop_limit);
  out.hot_standby = app.hot_standby;
  out.scratch = app.rehearsal_scratch;
  if (app.address) out.port = app.address->guest_port;
  return out;
}

}  // namespace

bool listed(const config::Config& config, core::GuestId guest, std::uint32_t app) {
  const auto application = config.application_of(app);
  if (!application) return false;
  const auto& guests = config.applications[*application].guests;
  return std::find(guests.begin(), guests.end(), guest) != guests.end();
}

namespace {

std::optional<std::uint16_t> port_of(const config::Application& app) {
  return app.address ? std::optional(app.address->guest_port) : std::nullopt;
}

// What goes with the port: how it is started, and how it is seen to serve. Limits and restarts are today's.
void start_as_before(protocol::Application& app, const protocol::Application& before) {
  app.start = before.start;
  app.prepare = before.prepare;
  app.environment = before.environment;
  app.user = before.user;
  app.ready = before.ready;
  app.health = before.health;
  app.scratch = before.scratch;
}

}  // namespace

bool RunView::knows(std::uint32_t app) const {
  return std::any_of(welcome.applications.begin(), welcome.applications.end(), [app](const auto& each) {
    return each.app == app || (each.rehearsal != 0 && each.rehearsal == app);
  });
}

RunView view_of(const config::Config& config, core::GuestRun run) {
  return {welcome_for(config, run), config.guests.at(run.guest.value).base_bytes};
}

RunView view_of(const config::Config& config, core::GuestRun run, const Started& started) {
  RunView view = view_of(config, run);
  if (started.base_bytes != 0) view.base_bytes = started.base_bytes;
  std::string_view line = started.told;
  if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  const auto decoded = protocol::decode_to_agent(line);
  const auto* told = decoded ? std::get_if<protocol::to_agent::Welcome>(&*decoded) : nullptr;
  if (told == nullptr) return view;
  for (const protocol::Application& before : told->applications) {
    for (std::uint32_t number = 0; number < config.applications.size(); ++number) {
      const config::Application& app = config.applications[number];
      if (app.name != before.name) continue;
      if (!listed(config, run.guest, number)) {
        view.welcome.applications.push_back(definition_of(app, number));
        view.welcome.applications.back().rehearsal = config.twin_of(number).value_or(0);
      }
      const auto port = started.app_ports.find(app.name);
      const auto then = port == started.app_ports.end() ? std::nullopt : std::optional(port->second);
      if (then == port_of(app)) continue;
      for (protocol::Application& each : view.welcome.applications) {
        if (each.app == number) start_as_before(each, before);
      }
    }
  }
  return view;
}

std::string told_line(const config::Config& config, core::GuestId guest) {
  return protocol::encode(welcome_for(config, {guest, 0})).value_or("");
}

protocol::to_agent::Welcome welcome_for(const config::Config& config, core::GuestRun run) {
  const config::Guest& guest = config.guests.at(run.guest.value);
  protocol::to_agent::Welcome welcome;
  welcome.guest = guest.name;
  welcome.run = run.run;
  welcome.beat_interval_ms = std::max<std::uint64_t>(1, whole_ms(guest.heartbeat.interval));
  for (std::uint32_t app = 0; app < config.applications.size(); ++app) {
    if (!listed(config, run.guest, app)) continue;
    welcome.applications.push_back(definition_of(config.applications[app], app));
    welcome.applications.back().rehearsal = config.twin_of(app).value_or(0);
  }
  return welcome;
}

}  // namespace understudy::link

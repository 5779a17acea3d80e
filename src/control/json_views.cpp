#include "control/json_views.hpp"

#include "control/event_log.hpp"

#include <cmath>

namespace understudy::control {

namespace {

namespace json = boost::json;

json::value name_or_null(const core::State& state, const std::optional<core::GuestId>& guest) {
  return guest ? json::value(state.name(*guest)) : json::value(nullptr);
}

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

// Microseconds are noise in a table of milliseconds, but sums should hold: three digits after the point.
double rounded_ms(Duration duration) {
  return std::round(to_ms(duration) * 1000.0) / 1000.0;
}

// When maintenance ends, by the wall clock; null: there is none.
json::value maintenance_json(const std::optional<Time>& until, Time now) {
  if (!until || *until <= now) return nullptr;
  return json::value(wall_clock(*until - now));
}

json::value proof_json(const core::State& state, const core::Application& app, const HostView& host) {
  json::object object{{"state", "never"}};
  if (!app.proof) return object;
  const core::Proof& proof = *app.proof;
  const Duration ago = host.now - proof.at;
  object["state"] = proof.void_why.empty() ? "proven" : "expired";
  object["what"] = proof.start ? "start" : "attach";
  object["on"] = state.name(proof.on);
  object["bytes"] = proof.bytes;
  object["took_ms"] = rounded_ms(proof.took);
  object["age_s"] = std::chrono::duration_cast<std::chrono::seconds>(ago).count();
  object["at"] = wall_clock(-ago);
  object["until"] = wall_clock(state.setup.app(app.id).proven_for - ago);
  object["why"] = text_or_null(proof.void_why);
  return object;
}

// The last rehearsal that ended; null: there was none since this daemon was started.
json::value rehearsal_json(const core::State& state, const core::Application& app) {
  if (!app.rehearsal) return nullptr;
  const core::Rehearsal& done = *app.rehearsal;
  json::array phases;
  for (const core::Phase phase :
       {core::Phase::attach, core::Phase::online, core::Phase::start, core::Phase::detach}) {
    phases.push_back(json::object{{"name", core::phase_name(phase)},
                                  {"ms", rounded_ms(done.phases[static_cast<std::size_t>(phase)])}});
  }
  return json::object{{"number", done.number},
                      {"passed", done.passed()},
                      {"why", text_or_null(done.failed)},
                      {"on", state.name(done.on)},
                      {"start", done.start},
                      {"bytes", done.bytes},
                      {"wanted_bytes", state.setup.app(app.id).desired_bytes},
                      {"phases", std::move(phases)},
                      {"total_ms", rounded_ms(done.ended - done.began)}};
}

json::object app_json(const core::State& state, const core::Application& app, const HostView& host) {
  const core::Protection protection = core::protection(state, app);
  const auto place = app.place();
  json::object object{{"name", state.name(app.id)},
                      {"state", core::app_state_word(app)},
                      {"active", place ? json::value(state.name(place->guest)) : json::value(nullptr)},
                      {"standby", name_or_null(state, protection.standby)},
                      {"protected", protection.is_protected},
                      {"why", protection.why},
                      {"epoch", app.epoch}};
  const auto predicted = core::predicted_takeover(state, app);
  object["predicted_takeover_ms"] =
      predicted ? json::value(rounded_ms(predicted->takeover)) : json::value(nullptr);
  object["predicted_rests_on"] = predicted ? json::value(predicted->rests_on) : json::value(nullptr);
  object["attempts"] = app.failed_starts;
  object["failing"] = text_or_null(app.failing);
  object["trouble"] = core::app_trouble(app);
  object["maintenance_until"] = maintenance_json(app.maintenance_until, host.now);
  object["maintenance"] = !core::hands_off(state, app).empty();
  object["proven"] = proof_json(state, app, host);
  object["rehearsal"] = rehearsal_json(state, app);
  object["hot_standby"] = state.setup.app(app.id).hot_standby;
  object["vcpus"] = state.setup.app(app.id).vcpus;
  object["vcpus_plugged"] = 0;
  if (place) {
    const auto& vcpus = state.guest(place->guest).vcpus;
    if (const auto held = vcpus.find(app.id); held != vcpus.end())
      object["vcpus_plugged"] = held->second.count;
  }
  return object;
}

json::object guest_json(const core::State& state, const core::Guest& guest, const HostView& host) {
  json::object object{{"name", state.name(guest.id)},
                      {"state", core::guest_state_name(guest.state)},
                      {"run", guest.run},
                      {"base_bytes", state.definition(guest.id).base_bytes},
                      {"areas_bytes", core::areas_bytes(state, guest.current())},
                      {"base_vcpus", state.definition(guest.id).vcpus},
                      {"application_vcpus", core::application_vcpus(guest)},
                      {"host_bytes", host.guests.at(guest.id.value).host_bytes}};
  object["maintenance_until"] = maintenance_json(guest.maintenance_until, host.now);
  object["outdated"] = !guest.outdated.empty();
  json::array differs;
  for (const core::Difference& each : guest.outdated)
    differs.push_back(json::object{{"what", each.what}, {"has", each.has}, {"file", each.file}});
  object["differs"] = std::move(differs);
  if (const auto* ready = guest.ready()) {
    object["available_bytes"] = ready->memory.available_bytes;
    object["total_bytes"] = ready->memory.total_bytes;  // MemTotal
  }
  return object;
}

}  // namespace

json::object status_json(const core::State& state, const HostView& host) {
  json::array apps;
  for (const core::Application& app : state.apps) {
    if (!state.is_twin(app.id)) apps.push_back(app_json(state, app, host));
  }
  json::array guests;
  for (const core::Guest& guest : state.guests) guests.push_back(guest_json(state, guest, host));
  return {{"applications", std::move(apps)},
          {"guests", std::move(guests)},
          {"accelerator", host.accelerator},
          {"accelerator_reason", host.accelerator_reason},
          {"journal_trouble", state.journal_trouble}};
}

json::object table_json(const core::State& state, const HostView& host) {
  const core::TableView view = core::table_view(state, host.vmm);
  json::array rows;
  for (const core::Row& row : view.rows) {
    rows.push_back(json::object{{"id", row.id},
                                {"bytes", row.bytes},
                                {"use", core::use_name(row.use)},
                                {"user", text_or_null(row.user)},
                                {"attached_to", text_or_null(row.attached_to)},
                                {"takeover_target", text_or_null(row.takeover_target)},
                                {"state", row.state}});
  }
  json::array vcpus;
  for (const core::VcpuRow& row : view.vcpus) {
    vcpus.push_back(json::object{{"id", row.id},
                                 {"vcpus", row.count},
                                 {"wanted", row.wanted},
                                 {"use", core::use_name(row.use)},
                                 {"user", text_or_null(row.user)},
                                 {"attached_to", text_or_null(row.attached_to)},
                                 {"takeover_target", text_or_null(row.takeover_target)},
                                 {"state", row.state},
                                 {"why", text_or_null(row.why)}});
  }
  return {{"rows", std::move(rows)},
          {"vcpus", std::move(vcpus)},
          {"pool_bytes", view.pool_bytes},
          {"over_budget_bytes", view.over_budget_bytes}};
}

json::object report_json(const core::State& state, const core::TakeoverReport& report) {
  json::array phases;
  for (std::size_t i = 0; i < core::kPhaseCount; ++i) {
    phases.push_back(json::object{{"name", core::phase_name(static_cast<core::Phase>(i))},
                                  {"ms", rounded_ms(report.phases[i])}});
  }
  json::array attempts;
  for (const core::Attempt& attempt : report.attempts) {
    attempts.push_back(json::object{{"on", state.name(attempt.on)},
                                    {"ms", rounded_ms(attempt.took)},
                                    {"why", text_or_null(attempt.why)}});
  }
  return {{"application", state.name(report.app)},
          {"cause", report.cause},
          {"from", name_or_null(state, report.from)},
          {"to", name_or_null(state, report.to)},
          {"epoch", report.epoch},
          {"result", report.result},
          {"phases", std::move(phases)},
          {"waited_ms", rounded_ms(report.waited)},
          {"attempts", std::move(attempts)},
          {"attempts_in_vain", report.attempts_in_vain},
          {"in_vain_ms", rounded_ms(report.in_vain)},
          {"total_ms", rounded_ms(report.total())},
          {"bytes_moved", report.bytes_moved},
          {"bytes_zeroed", report.bytes_zeroed},
          {"bytes_copied", report.bytes_copied}};
}

}  // namespace understudy::control

#include "link/agent_links.hpp"

#include "link/connection.hpp"
#include "link/definitions.hpp"
#include "protocol/codec.hpp"

namespace understudy::link {

namespace {

namespace action = core::action;
namespace to = protocol::to_agent;

// A limit of 0 ms would be none.
std::uint64_t limit_ms(Duration duration) {
  return std::max<std::uint64_t>(1, whole_ms(duration));
}

std::vector<protocol::AreaNumber> numbers(const std::vector<core::AreaId>& areas) {
  std::vector<protocol::AreaNumber> out;
  for (const auto area : areas) out.push_back(area.value);
  return out;
}

}  // namespace

Result<std::unique_ptr<AgentLinks>> AgentLinks::create(boost::asio::io_context& io,
                                                       const config::Config& config, engine::EventSink sink,
                                                       Heard heard) {
  for (std::uint32_t guest = 0; guest < config.guests.size(); ++guest) {
    const auto line = protocol::encode(welcome_for(config, {{guest}, 1}));
    if (line) continue;
    return failure("guest " + config.guests[guest].name + " cannot be told of its applications: " +
                   line.error().message + "; shorten their commands and environments");
  }
  return std::unique_ptr<AgentLinks>(new AgentLinks(io, config, std::move(sink), std::move(heard)));
}

AgentLinks::AgentLinks(boost::asio::io_context& io, const config::Config& config, engine::EventSink sink,
                       Heard heard)
    : io_(io),
      config_(config),
      sink_(std::make_shared<const engine::EventSink>(std::move(sink))),
      heard_(std::make_shared<const Heard>(std::move(heard))) {}

AgentLinks::~AgentLinks() {
  for (const auto& [run, connection] : connections_) connection->close();
}

void AgentLinks::open(core::GuestRun run, std::filesystem::path socket) {
  open(run, std::move(socket), view_of(config_, run));
}

void AgentLinks::open(core::GuestRun run, std::filesystem::path socket, const Started& started) {
  open(run, std::move(socket), view_of(config_, run, started));
}

void AgentLinks::open(core::GuestRun run, std::filesystem::path socket, RunView view) {
  close(run);
  auto connection =
      std::make_shared<Connection>(io_, config_, run, std::move(view), std::move(socket), sink_, heard_);
  connections_[run] = connection;
  connection->open();
}

void AgentLinks::close(core::GuestRun run) {
  const auto found = connections_.find(run);
  if (found == connections_.end()) return;
  found->second->close();
  connections_.erase(found);
}

Connection* AgentLinks::find(core::GuestRun run) const {
  const auto found = connections_.find(run);
  return found == connections_.end() ? nullptr : found->second.get();
}

bool AgentLinks::connected(core::GuestRun run) const {
  const Connection* connection = find(run);
  return connection != nullptr && connection->greeted();
}

void AgentLinks::remember_areas(core::GuestRun run, std::span<const core::event::PluggedArea> areas) {
  Connection* connection = find(run);
  if (connection == nullptr) return;
  for (const auto& area : areas)
    connection->requests().know_area({area.area.value, area.guest_address, config_.pool.area_bytes});
}

bool AgentLinks::drill(core::GuestRun run, core::FaultKind kind, core::AppId app, Duration silence) {
  Connection* connection = find(run);
  if (connection == nullptr || !connection->greeted()) return false;
  using core::FaultKind;
  using protocol::DrillKind;
  switch (kind) {
    case FaultKind::os_panic: return connection->send(to::Drill{DrillKind::os_panic, app.value, 0});
    case FaultKind::app_exit: return connection->send(to::Drill{DrillKind::app_exit, app.value, 0});
    case FaultKind::app_crash: return connection->send(to::Drill{DrillKind::app_crash, app.value, 0});
    case FaultKind::app_hang: return connection->send(to::Drill{DrillKind::app_hang, app.value, 0});
    case FaultKind::agent_silence:
      return connection->send(to::Drill{DrillKind::silence, app.value, limit_ms(silence)});
    case FaultKind::os_hang:
    case FaultKind::vmm_kill: return false;
  }
  return false;
}

bool AgentLinks::ask_tail(core::GuestRun run, core::AppId app, std::size_t bytes) {
  Connection* connection = find(run);
  return connection != nullptr && connection->ask_tail(app.value, bytes);
}

// ---- the engine's requests ----

// Without a line there is nobody to ask; the core learns of that by its own limits, as of any silence.
void AgentLinks::request(core::GuestRun run, const protocol::ToAgent& message) {
  if (Connection* connection = find(run)) connection->request(message);
}

void AgentLinks::ask_state(const action::AskState& asked) {
  request(asked.run, to::Query{});
}

void AgentLinks::ask_need(const action::AskNeed& asked) {
  request(asked.run, to::Need{asked.app.value, asked.epoch, asked.memory_bytes});
}

void AgentLinks::ask_engage(const action::AskEngage& asked) {
  to::Engage message{asked.app.value, asked.epoch, {}};
  for (const auto& area : asked.areas)
    message.areas.push_back({area.area.value, area.guest_address, area.bytes});
  request(asked.run, message);
}

void AgentLinks::ask_start(const action::AskStart& asked) {
  request(asked.run, to::Start{asked.app.value, asked.epoch, asked.memory_limit_bytes, numbers(asked.areas)});
}

void AgentLinks::ask_stop(const action::AskStop& asked) {
  request(asked.run, to::Stop{asked.app.value, asked.epoch});
}

void AgentLinks::ask_release(const action::AskRelease& asked) {
  Connection* connection = find(asked.run);
  if (connection == nullptr) return;
  to::Release message{asked.app.value, asked.epoch, {}, limit_ms(asked.limit)};
  for (const auto id : asked.areas) {
    const auto* area = connection->requests().area(id.value);
    if (area == nullptr) {
      return connection->post(core::event::AreasReleased{
          asked.run,
          asked.app,
          asked.epoch,
          {},
          "where area " + std::to_string(id.value) + " is in the guest is not known"});
    }
    message.areas.push_back(*area);
  }
  connection->request(message);
}

void AgentLinks::answer_growth(const action::AnswerGrowth& answer) {
  if (answer.areas.empty()) {
    return request(answer.run, to::GrowRefused{answer.app.value, answer.epoch, answer.why_not});
  }
  request(answer.run,
          to::GrowDone{answer.app.value, answer.epoch, answer.memory_limit_bytes, numbers(answer.areas)});
}

// Of use only now: a guest that is not there has nothing to read in.
void AgentLinks::ask_prepare(const action::AskPrepare& asked) {
  Connection* connection = find(asked.run);
  if (connection != nullptr && connection->greeted()) (void)connection->send(to::Prepare{asked.app.value});
}

}  // namespace understudy::link
